"""A state dictionary with the names and shapes of EfficientNet-Lite0."""

import numpy as np

BLOCKS = [
    # Channels of input and output, kernel size, stride.
    (32, 16, 3, 1),
    (16, 24, 3, 2), (24, 24, 3, 1),
    (24, 40, 5, 2), (40, 40, 5, 1),
    (40, 80, 3, 2), (80, 80, 3, 1), (80, 80, 3, 1),
    (80, 112, 5, 1), (112, 112, 5, 1), (112, 112, 5, 1),
    (112, 192, 5, 2), (192, 192, 5, 1), (192, 192, 5, 1), (192, 192, 5, 1),
    (192, 320, 3, 1),
]  # fmt: skip
"""The sixteen blocks; all but the first have six times the channels inside."""


def shapes():
    """Return the shape of each entry by its name in the original."""
    found = {"_conv_stem.weight": (32, 3, 3, 3), **normalization("_bn0", 32)}
    for k, (given, made, size, _) in enumerate(BLOCKS):
        name, width = f"_blocks.{k}", 6 * given if k else given
        if k:
            found[f"{name}._expand_conv.weight"] = (width, given, 1, 1)
            found |= normalization(f"{name}._bn0", width)
        found[f"{name}._depthwise_conv.weight"] = (width, 1, size, size)
        found |= normalization(f"{name}._bn1", width)
        found[f"{name}._project_conv.weight"] = (made, width, 1, 1)
        found |= normalization(f"{name}._bn2", made)
    found["_conv_head.weight"] = (1280, 320, 1, 1)
    found |= normalization("_bn1", 1280)
    return found | {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def normalization(name, channels):
    entries = ("weight", "bias", "running_mean", "running_var")
    found = {f"{name}.{entry}": (channels,) for entry in entries}
    return found | {f"{name}.num_batches_tracked": ()}


def random_state():
    """Return random entries that keep activations of order one."""
    generator = np.random.default_rng(0)
    state = {}
    for name, shape in shapes().items():
        values = generator.normal(size=shape)
        if name.endswith("running_var") or ("bn" in name and "weight" in name):
            # Down to where the epsilon of the normalization counts.
            values = generator.uniform(0.02, 1.5, shape)
        elif len(shape) > 1:
            values /= np.sqrt(np.prod(shape[1:]))
        state[name] = np.asarray(values, "float32")
    return state
