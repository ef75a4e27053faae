"""Residual networks for small images."""

from typing import Any

import keras
from keras import layers

from keras_sam.networks import blocks
from keras_sam.types import Tensor


def CIFARResNet(
    depth: int = 32,
    num_classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    width: int = 16,
    stem_strides: int = 1,
    shortcut: str = "A",
) -> keras.Model:
    """Return a residual network for small images.

    Three groups of blocks of two convolutions, of `width`, `2 * width` and
    `4 * width` channels.

    Args:
        depth: Integer, 2 plus a multiple of 6: 20, 32, 44, 56, 110 in the
            paper. Defaults to 32, the network of the label noise experiments
            of the SAM paper.
        num_classes: Integer. Defaults to 10.
        input_shape: Height, width and channels of the images.
        width: Integer, the channels of the first group. Defaults to 16.
        stem_strides: Integer, the strides of the first convolution. Defaults
            to 1.
        shortcut: Shortcuts where the resolution changes: `"A"`, every second
            position and additional channels of zeros; `"B"`, a 1 x 1
            convolution, here without normalization. Defaults to `"A"`, as in
            the paper for small images.

    Returns:
        A `keras.Model` from images to logits of shape
        `(batch_size, num_classes)`.

    Example:
    >>> keras_sam.networks.CIFARResNet(depth=20).count_params()
    271098

    Raises:
        ValueError: If `depth` is not 2 plus a multiple of 6, or `shortcut` is
            neither `"A"` nor `"B"`.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2.
    """
    groups = blocks.three_groups("CIFARResNet", depth, 2, 2)
    if shortcut not in _SHORTCUTS:
        raise ValueError(
            f'`shortcut` must be "A" or "B". Received: shortcut={shortcut!r}'
        )
    inputs = keras.Input(input_shape)
    stem = blocks.convolution(inputs, width, strides=stem_strides)
    x = blocks.activated(stem)
    for factor, strides in groups:
        x = _block(x, width * factor, strides, _SHORTCUTS[shortcut])
    outputs = blocks.classifier(x, num_classes)
    return keras.Model(inputs, outputs, name=f"resnet_{depth}")


def _block(x: Tensor, filters: int, strides: int, shortcut: Any) -> Tensor:
    y = blocks.activated(blocks.convolution(x, filters, strides=strides))
    y = blocks.normalization(blocks.convolution(y, filters))
    if strides > 1:
        x = shortcut(x, filters, strides)
    return layers.ReLU()(layers.Add()([x, y]))


def _padded(x: Tensor, filters: int, strides: int) -> Tensor:
    # Pooling of one position takes every `strides`-th one.
    return blocks.PadChannels(filters)(layers.MaxPooling2D(1, strides)(x))


def _projected(x: Tensor, filters: int, strides: int) -> Tensor:
    return blocks.convolution(x, filters, 1, strides)


_SHORTCUTS = {"A": _padded, "B": _projected}
