"""Shake-Shake networks."""

import keras
from keras import layers

from keras_sam.networks import blocks
from keras_sam.networks.shaking import ShakeGate
from keras_sam.types import Tensor


def ShakeShake(
    depth: int = 26,
    width: int = 96,
    num_classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
) -> keras.Model:
    """Return a Shake-Shake network, `depth 2 x width d`.

    Three groups of blocks with two branches of two convolutions, of `width`,
    `2 * width` and `4 * width` channels, which `ShakeGate` mixes.

    Args:
        depth: Integer, 2 plus a multiple of 6. Defaults to 26.
        width: Integer, even: the channels of the first group: 32, 64 or 96 in
            the paper. Defaults to 96, as in the SAM paper.
        num_classes: Integer. Defaults to 10.
        input_shape: Height, width and channels of the images.

    Returns:
        A `keras.Model` from images to logits of shape
        `(batch_size, num_classes)`.

    Example:
    >>> model = keras_sam.networks.ShakeShake(8, width=4, num_classes=100)
    >>> model.name, model.output_shape
    ('shake_shake_8_4', (None, 100))

    Raises:
        ValueError: If `depth` is not 2 plus a multiple of 6, or `width` is
            odd.

    Reference:
        [Gastaldi, 2017](https://arxiv.org/abs/1705.07485), section 2, and the
        author's code for the shortcuts. Deviation of the SAM authors' code:
        there is no ReLU before its shortcuts.
    """
    if width % 2:
        raise ValueError(
            f"`width` must be even, as half of the channels come from each of "
            f"two shortcuts. Received: width={width}"
        )
    groups = blocks.three_groups("ShakeShake", depth, 2, 2)
    inputs = keras.Input(input_shape)
    x = blocks.normalization(blocks.convolution(inputs, 16))
    for factor, strides in groups:
        x = _block(x, width * factor, strides)
    outputs = blocks.uniform_classifier(layers.ReLU()(x), num_classes)
    return keras.Model(inputs, outputs, name=f"shake_shake_{depth}_{width}")


def _block(x: Tensor, filters: int, strides: int) -> Tensor:
    branches = [_branch(x, filters, strides) for _ in range(2)]
    if x.shape[-1] != filters:
        x = _shortcut(x, filters, strides)
    return layers.Add()([x, ShakeGate()(branches)])


def _branch(x: Tensor, filters: int, strides: int) -> Tensor:
    x = blocks.convolution(layers.ReLU()(x), filters, strides=strides)
    x = blocks.convolution(layers.ReLU()(blocks.normalization(x)), filters)
    return blocks.normalization(x)


def _shortcut(x: Tensor, filters: int, strides: int) -> Tensor:
    """Return half of the channels from one grid, half from a shifted one."""
    x = layers.ReLU()(x)
    # Without its first row and column, every second position is an odd one.
    # With strides of 1, in the first block, the grid is shifted all the same.
    shifted = layers.Cropping2D(((1, 0), (1, 0)))(x)
    shifted = layers.ZeroPadding2D(((0, 1), (0, 1)))(shifted)
    halves = [
        blocks.convolution(
            layers.MaxPooling2D(1, strides)(half), filters // 2, 1
        )
        for half in (x, shifted)
    ]
    return blocks.normalization(layers.Concatenate()(halves))
