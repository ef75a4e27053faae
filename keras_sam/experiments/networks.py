"""Networks of the experiments by name."""

from functools import partial
from typing import Any

import keras

from keras_sam.data.datasets import ImageDataset
from keras_sam.networks import CIFARResNet
from keras_sam.networks import PyramidNet
from keras_sam.networks import ShakeShake
from keras_sam.networks import WideResNet
from keras_sam.types import Tensor


def _mlp(
    num_classes: int, input_shape: Any, depth: int = 2, width: int = 256
) -> keras.Model:
    """Return dense layers with rectifiers."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Flatten()(inputs)
    for _ in range(depth):
        x = keras.layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))


def _cnn(
    num_classes: int, input_shape: Any, layers: Any, is_normalized: bool
) -> keras.Model:
    """Return 3 x 3 convolutions, each with its channels and its stride."""
    x = inputs = keras.Input(input_shape)
    for channels, stride in layers:
        x = keras.layers.Conv2D(
            *(channels, 3, stride, "same"),
            use_bias=not is_normalized,
            kernel_initializer="glorot_uniform"
            if is_normalized
            else "he_normal",
        )(x)
        if is_normalized:
            x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))


_NORMALIZED = ((16, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1))
_NOT_NORMALIZED = ((16, 2), (32, 2), (32, 1), (64, 2))

NETWORKS: dict[str, tuple[Any, str, int, int]] = {
    "resnet": (CIFARResNet, "width", 8, 4),
    "resnet_halved": (
        partial(CIFARResNet, stem_strides=2, shortcut="B"),
        *("width", 8, 4),
    ),
    "wide_resnet": (WideResNet, "width", 10, 1),
    "shake_shake": (ShakeShake, "width", 8, 4),
    "pyramid_net": (PyramidNet, "widening", 11, 4),
    "shake_drop": (partial(PyramidNet, survival=0.5), "widening", 11, 4),
    "mlp": (_mlp, "width", 1, 4),
    "cnn": (partial(_cnn, layers=_NORMALIZED, is_normalized=True), "", 0, 0),
    "cnn_without_normalization": (
        partial(_cnn, layers=_NOT_NORMALIZED, is_normalized=False),
        *("", 0, 0),
    ),
}
"""Function, name of its width argument, and smallest depth and width.

A network of one size only has no name there. `"resnet_halved"` halves the
resolution of its images.
"""


def smallest(name: str) -> tuple[str, int, int]:
    """Return name, depth and width of a small network of the same family."""
    if name in NETWORKS:
        return name, *NETWORKS[name][2:]
    for family, member in (("ResNet", "ResNet50"), ("Efficient", "MobileNet")):
        if name.startswith(family):
            return member, 0, 0
    return name, 0, 0


def of(experiment: Any, dataset: ImageDataset) -> keras.Model:
    """Return the network of an experiment, from images to logits."""
    shape = dataset.train[0].shape[1:]
    name = experiment.network
    if experiment.weights:
        backbone = pretrained(name, experiment.weights, shape)
        return fine_tuned(backbone, dataset.num_classes)
    sizes = experiment.depth, experiment.width
    return build(name, *sizes, dataset.num_classes, shape)


def build(
    name: str,
    depth: int,
    width: int,
    num_classes: int,
    input_shape: tuple[int, int, int],
) -> keras.Model:
    """Return an untrained network to logits; sizes of 0 are the defaults.

    The residual networks of `keras.applications` differ from the paper's: they
    halve the resolution in the first convolution of a block, not in the
    second, their convolutions have biases, and their normalization has
    momentum 0.99.

    Raises:
        ValueError: If a size is given to a network of one size only.
    """
    # Networks of `keras.applications` are not in the table, and have one size.
    function, width_name, *_ = NETWORKS.get(name, (None, "", 0, 0))
    if (depth or width) and not width_name:
        raise ValueError(
            f"`{name}` has one size only. Received: depth={depth}, "
            f"width={width}"
        )
    if function:
        sizes = {"depth": depth, width_name: width}
        return function(
            num_classes=num_classes,
            input_shape=input_shape,
            **{key: size for key, size in sizes.items() if size},
        )
    return getattr(keras.applications, name)(
        weights=None,
        input_shape=input_shape,
        classes=num_classes,
        classifier_activation=None,
    )


def check(name: str, depth: int, width: int) -> None:
    """Check the size of a network, before data are loaded.

    Raises:
        ValueError: If the network does not have this size.
    """
    if name in NETWORKS or depth or width:
        with keras.StatelessScope():  # Weights are not allocated.
            build(name, depth, width, num_classes=2, input_shape=(32, 32, 3))


@keras.saving.register_keras_serializable(package="keras_sam")
class InferenceMode(keras.layers.Wrapper):
    """Runs a layer or network in inference mode, also while it is trained.

    `training=False` in the call of a network is not enough: an enclosing
    functional model overrides it with its own mode.

    Args:
        layer: A `keras.Layer` whose `call` has an argument `training`.
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output of the layer in inference mode."""
        return self.layer(inputs, training=False)


def fine_tuned(
    backbone: keras.Model, num_classes: int, dropout: float = 0.0
) -> keras.Model:
    """Return a trained network with a new last layer for logits.

    The network is in inference mode, also while it is trained: as in the
    paper, batch normalization uses its stored statistics and does not update
    them, and dropout is off. All weights are trained.

    Args:
        backbone: A `keras.Model` from images to features, of shape
            `(batch_size, channels)` or `(batch_size, height, width,
            channels)`.
        num_classes: Integer.
        dropout: Number in [0, 1), before the last layer. Defaults to 0.

    Returns:
        `keras.Model`.
    """
    inputs = keras.Input(backbone.input_shape[1:])
    x: Tensor = InferenceMode(backbone)(inputs)
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))


def pretrained(
    name: str, weights: str, input_shape: tuple[int, int, int]
) -> keras.Model:
    """Return a trained network without its last layer.

    Args:
        name: A name in `keras.applications`; not used with a file.
        weights: `"imagenet"`, which is downloaded; `"random"`, for tests; or a
            file of a saved model without its last layer.
        input_shape: Height, width and channels of the images.

    Returns:
        `keras.Model`.
    """
    if weights not in ("imagenet", "random"):
        return keras.models.load_model(weights, compile=False)
    return getattr(keras.applications, name)(
        weights=None if weights == "random" else weights,
        input_shape=input_shape,
        include_top=False,
        pooling="avg",
    )
