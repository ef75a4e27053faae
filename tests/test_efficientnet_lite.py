"""The example EfficientNet-Lite0: its size, and where each weight goes.

`agreement/test_efficientnet_lite.py` computes it in PyTorch.
"""

import itertools

import keras
import numpy as np
import pytest

from examples import efficientnet_lite
from tests import lite_state


@pytest.fixture(scope="module")
def numbered():
    """A state dictionary in which no number is there twice."""
    numbers = itertools.accumulate(
        (int(np.prod(s)) for s in lite_state.shapes().values()), initial=0
    )
    return {
        name: start + np.arange(np.prod(shape), dtype="float32").reshape(shape)
        for start, (name, shape) in zip(numbers, lite_state.shapes().items())
        if not name.endswith("num_batches_tracked")
    }


@pytest.fixture(scope="module")
def converted(numbered):
    return efficientnet_lite.converted(numbered, top=True)


def test_it_has_as_many_weights_as_the_original():
    with keras.StatelessScope():  # Weights are not allocated.
        model = efficientnet_lite.efficientnet_lite0()
    trainable = [np.prod(v.shape) for v in model.trainable_variables]
    # The number of the original's parameters.
    assert sum(trainable) == 4_652_008
    assert model.output_shape == (None, 1000)


def test_blocks_have_the_shapes_of_the_paper():
    with keras.StatelessScope():
        model = efficientnet_lite.efficientnet_lite0(size=224)
    sizes, size = [], 112
    for k, (given, made, _, stride) in enumerate(lite_state.BLOCKS):
        size //= stride
        is_residual = stride == 1 and given == made
        last = f"blocks_{k}" if is_residual else f"blocks_{k}_bn2"
        assert model.get_layer(last).output.shape == (None, size, size, made)
        sizes.append(size)
    assert sizes[-1] == 7
    additions = [y for y in model.layers if isinstance(y, keras.layers.Add)]
    assert len(additions) == 9


def test_every_entry_is_used_exactly_once(numbered, converted):
    found = np.concatenate([w.ravel() for w in converted.get_weights()])
    given = np.concatenate([array.ravel() for array in numbered.values()])
    assert len(given) == len(np.unique(given)) == 4_694_024
    np.testing.assert_array_equal(np.sort(found), np.sort(given))


def test_entries_are_where_their_names_say(numbered, converted):
    def weights(name):
        return converted.get_layer(name).get_weights()

    # Kernels are (output, input, height, width) in PyTorch.
    given = numbered["_conv_stem.weight"]
    np.testing.assert_array_equal(
        weights("conv_stem")[0], np.einsum("oihw->hwio", given)
    )
    given = numbered["_blocks.3._depthwise_conv.weight"]
    np.testing.assert_array_equal(
        weights("blocks_3_depthwise_conv")[0], np.einsum("cohw->hwco", given)
    )
    np.testing.assert_array_equal(weights("fc")[0], numbered["_fc.weight"].T)
    for own, name in (("bn0", "_bn0"), ("blocks_15_bn2", "_blocks.15._bn2")):
        layer = converted.get_layer(own)
        for variable, entry in (
            (layer.gamma, "weight"),
            (layer.beta, "bias"),
            (layer.moving_mean, "running_mean"),
            (layer.moving_variance, "running_var"),
        ):
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(variable),
                numbered[f"{name}.{entry}"],
            )


def test_bytes_are_scaled_as_the_original_was_trained():
    with keras.StatelessScope():
        scaling = efficientnet_lite.efficientnet_lite0().layers[1]
    found = keras.ops.convert_to_numpy(scaling(np.array([[-1.0, 127, 255]])))
    np.testing.assert_array_equal(found, [[-1, 0, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("_blocks.7._bn1.bias"), "no .*'blocks_7_bn1_bias'"),
        (lambda s: s.update({"_se.bias": np.zeros(3)}), r"for \['se_bias'\]"),
        (lambda s: s.update({"_fc.bias": np.zeros(3)}), r"\(1000,\).*\(3,\)"),
    ],
)
def test_weights_of_another_network_are_refused(numbered, change, message):
    state = dict(numbered)
    change(state)
    with pytest.raises(ValueError, match=message):
        efficientnet_lite.converted(state)


def test_features_are_the_input_of_the_last_layer_in_a_file(tmp_path):
    state = lite_state.random_state()
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3))
    efficientnet_lite.converted(state).save(tmp_path / "features.keras")
    model = keras.models.load_model(tmp_path / "features.keras")
    features = keras.ops.convert_to_numpy(model(images))
    assert features.shape == (2, 1280)
    logits = efficientnet_lite.converted(state, top=True)(images)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(logits),
        features @ state["_fc.weight"].T + state["_fc.bias"],
        # Sums of 1,280 products in float32, of order one.
        **{"rtol": 1e-4, "atol": 1e-4},
    )


def test_names_of_both_files_are_needed(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["efficientnet_lite.py", "a.whl"])
    with pytest.raises(SystemExit):
        efficientnet_lite.main()
    assert "the file to write" in capsys.readouterr().err
