"""Pyramidal residual networks."""

import keras
from keras import layers

from keras_sam.networks import blocks
from keras_sam.networks.shaking import ShakeDrop
from keras_sam.types import Tensor

_EXPANSION = 4


def PyramidNet(
    depth: int = 272,
    widening: float = 200.0,
    num_classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    survival: float = 1.0,
) -> keras.Model:
    """Return a pyramidal residual network of bottleneck blocks.

    The number of channels grows by the same amount in each block, from 16 to
    `16 + widening`; the output of a block has four times as many. Shortcuts
    have no weights: 2 x 2 average pooling where the resolution changes, and
    channels of zeros.

    Args:
        depth: Integer, 2 plus a multiple of 9. Defaults to 272.
        widening: Number > 0, alpha in the paper. Defaults to 200.
        num_classes: Integer. Defaults to 10.
        input_shape: Height, width and channels of the images.
        survival: Number in [0, 1], the survival probability of the last block
            in `ShakeDrop`; that of the others decreases to it linearly from 1.
            Defaults to 1, without `ShakeDrop`; the papers use 0.5 with it.

    Returns:
        A `keras.Model` from images to logits of shape
        `(batch_size, num_classes)`.

    Example:
    >>> model = keras_sam.networks.PyramidNet(11, widening=12, survival=0.5)
    >>> model.name, model.output_shape
    ('pyramid_net_11', (None, 10))

    Raises:
        ValueError: If `depth` is not 2 plus a multiple of 9, or `survival` is
            outside [0, 1].

    Reference:
        [Han et al., 2017](https://arxiv.org/abs/1610.02915), equation 3 and
        figure 6d; [Yamada et al., 2019](https://arxiv.org/abs/1802.02375).
        Depth 272 with `widening=200` is the SAM authors' network.
    """
    groups = blocks.three_groups("PyramidNet", depth, 2, 3)
    inputs = keras.Input(input_shape)
    x = blocks.normalization(blocks.convolution(inputs, 16))
    for block, (_, strides) in enumerate(groups, 1):
        filters = round(16 + widening * block / len(groups))
        kept = 1 - block / len(groups) * (1 - survival)
        x = _block(x, filters, strides, kept)
    outputs = blocks.uniform_classifier(blocks.activated(x), num_classes)
    return keras.Model(inputs, outputs, name=f"pyramid_net_{depth}")


def _block(x: Tensor, filters: int, strides: int, survival: float) -> Tensor:
    y = blocks.convolution(blocks.normalization(x), filters, 1)
    y = blocks.convolution(blocks.activated(y), filters, strides=strides)
    y = blocks.convolution(blocks.activated(y), _EXPANSION * filters, 1)
    y = blocks.normalization(y)
    if survival < 1:
        y = ShakeDrop(survival)(y)
    if strides > 1:
        x = layers.AveragePooling2D(strides)(x)
    return layers.Add()([blocks.PadChannels(y.shape[-1])(x), y])
