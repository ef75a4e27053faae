"""The common layers of all networks, and their sequence of blocks."""

import keras
from keras import layers
from keras import ops

from keras_sam.types import Tensor


def convolution(
    x: Tensor, filters: int, kernel_size: int = 3, strides: int = 1
) -> Tensor:
    """Return a convolution without bias, He-normal with `fan_out`.

    Args:
        x: Tensor of shape `(batch_size, height, width, channels)`.
        filters: Integer, the channels of the result.
        kernel_size: Integer.
        strides: Integer.

    Returns:
        Tensor with `height` and `width` divided by `strides`, rounded up.
    """
    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out"),
    )(x)


def normalization(x: Tensor) -> Tensor:
    """Return batch normalization with the papers' momentum and epsilon."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def activated(x: Tensor) -> Tensor:
    """Return batch normalization and a ReLU."""
    return layers.ReLU()(normalization(x))


def classifier(x: Tensor, num_classes: int) -> Tensor:
    """Return the logits: the mean over positions and a dense layer."""
    return layers.Dense(num_classes)(layers.GlobalAveragePooling2D()(x))


def uniform_classifier(x: Tensor, num_classes: int) -> Tensor:
    """Return logits whose weights start uniform in ±1 / sqrt(num_classes).

    As in the code of SAM's authors, which reports that other initializations
    raise the error of wide residual networks on CIFAR-100 by half a point.
    """
    bound = num_classes**-0.5
    return layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
    )(layers.GlobalAveragePooling2D()(x))


@keras.saving.register_keras_serializable(package="keras_sam")
class PadChannels(layers.Layer):
    """Appends channels of zeros: a shortcut without weights.

    Args:
        channels: Integer, the number of channels of the result.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(self, channels: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def call(self, x: Tensor) -> Tensor:
        missing = self.channels - x.shape[-1]
        return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, missing]])

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "channels": self.channels}


def three_groups(
    name: str, depth: int, extra: int, layers_each: int
) -> list[tuple[int, int]]:
    """Return the factor of channels and the strides of each block.

    Three groups of equally many blocks. The first block of the second and of
    the third group halves the resolution and doubles the channels.

    Args:
        name: Of the network, for the message.
        depth: Integer, the number of layers with weights.
        extra: Integer, how many of them are outside the blocks.
        layers_each: Integer, how many of them each block has.

    Returns:
        List of pairs of a factor (1, 2 or 4) and strides (1 or 2).

    Raises:
        ValueError: If the network does not have this depth.
    """
    per_group, rest = divmod(depth - extra, 3 * layers_each)
    if per_group < 1 or rest:
        raise ValueError(
            f"`depth` of a {name} must be {extra} plus a multiple of "
            f"{3 * layers_each}. Received: depth={depth}"
        )
    return [
        (2**group, 2 if group > 0 and block == 0 else 1)
        for group in range(3)
        for block in range(per_group)
    ]
