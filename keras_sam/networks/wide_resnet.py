"""Wide residual networks."""

import keras
from keras import layers

from keras_sam.networks import blocks
from keras_sam.types import Tensor


def WideResNet(
    depth: int = 28,
    width: int = 10,
    num_classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    dropout: float = 0.0,
) -> keras.Model:
    """Return a wide residual network, WRN-depth-width.

    Pre-activation blocks of two convolutions in three groups of `16 * width`,
    `32 * width` and `64 * width` channels. Where the number of channels
    changes, the shortcut is a 1 x 1 convolution of the activated input.

    Args:
        depth: Integer, 4 plus a multiple of 6: 16, 22, 28, 40 in the paper.
            Defaults to 28, the SAM paper's network.
        width: Integer, the factor of the widths. Defaults to 10.
        num_classes: Integer. Defaults to 10.
        input_shape: Height, width and channels of the images.
        dropout: Number in [0, 1), the rate between the two convolutions of a
            block. Defaults to 0, as in the SAM paper.

    Returns:
        A `keras.Model` from images to logits of shape
        `(batch_size, num_classes)`.

    Example:
    >>> model = keras_sam.networks.WideResNet(10, 2, num_classes=100)
    >>> model.name, model.output_shape
    ('wide_resnet_10_2', (None, 100))

    Raises:
        ValueError: If `depth` is not 4 plus a multiple of 6.

    Reference:
        [Zagoruyko and Komodakis, 2016](https://arxiv.org/abs/1605.07146),
        table 1. Deviation of the SAM authors' code: its shortcuts have no
        weights (36,220,634 weights in all for WRN-28-10, here 36,479,194).
    """
    groups = blocks.three_groups("WideResNet", depth, 4, 2)
    inputs = keras.Input(input_shape)
    x = blocks.convolution(inputs, 16)
    for factor, strides in groups:
        x = _block(x, 16 * width * factor, strides, dropout)
    outputs = blocks.uniform_classifier(blocks.activated(x), num_classes)
    return keras.Model(inputs, outputs, name=f"wide_resnet_{depth}_{width}")


def _block(x: Tensor, filters: int, strides: int, dropout: float) -> Tensor:
    y = blocks.activated(x)
    if x.shape[-1] != filters:
        x = blocks.convolution(y, filters, 1, strides)
    y = blocks.activated(blocks.convolution(y, filters, strides=strides))
    if dropout:
        y = layers.Dropout(dropout)(y)
    return layers.Add()([x, blocks.convolution(y, filters)])
