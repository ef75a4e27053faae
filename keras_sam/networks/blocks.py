"""The layers that all of the networks are made of."""

import keras
from keras import layers
from keras import ops

from keras_sam.types import Tensor


def convolution(
    x: Tensor, filters: int, kernel_size: int = 3, strides: int = 1
) -> Tensor:
    """Return a convolution without bias, He-normal by its outputs.

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


@keras.saving.register_keras_serializable(package="keras_sam")
class PadChannels(layers.Layer):
    """Appends channels of zeros: a shortcut without weights.

    Args:
        channels: Integer, how many channels the result has.
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


def depth_per_group(name: str, depth: int, extra: int, layers_each: int) -> int:
    """Return how many blocks each of three groups has.

    Args:
        name: Of the network, for the message.
        depth: Integer, the layers with weights.
        extra: Integer, how many of them are outside the blocks.
        layers_each: Integer, how many a block has.

    Returns:
        Integer >= 1.

    Raises:
        ValueError: If there is no such network.
    """
    blocks, rest = divmod(depth - extra, 3 * layers_each)
    if blocks < 1 or rest:
        raise ValueError(
            f"`depth` of a {name} must be {extra} plus a multiple of "
            f"{3 * layers_each}. Received: depth={depth}"
        )
    return blocks
