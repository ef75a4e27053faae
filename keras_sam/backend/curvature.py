"""The choice of derivatives that `keras_sam.sharpness` measures with."""

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import keras

from keras_sam.types import Tensor
from keras_sam.types import Vector

_own: Any = importlib.import_module(
    f"keras_sam.backend.{keras.backend.backend()}.curvature"
)
compiled = _own.compiled
gradient = _own.gradient
hessian_product = _own.hessian_product
# Seeds are variables of Keras, which a scope sees, but for PyTorch's own.
reported_draws = getattr(_own, "ReportedDraws", contextlib.nullcontext)


def gauss_newton_product(
    network: Callable[[Vector], tuple[Any, Any]],
    loss: Callable[[Any, Any], Tensor],
    weights: Vector,
    direction: Vector,
) -> Vector:
    """Return J^T H J times a direction.

    Args:
        network: Returns a nest of predictions, and anything else that the loss
            needs.
        loss: Takes these.
        weights: Where J, the derivative of the predictions, and H, the
            Hessian of the loss by the predictions, are taken.
        direction: Vector.

    Returns:
        A vector.
    """

    def flat_network(weights: Vector) -> tuple[Vector, Any]:
        nest, auxiliary = network(weights)
        return keras.tree.flatten(nest), (nest, auxiliary)

    predictions, (nest, auxiliary), change, pull_back = _own.linearized(
        flat_network, weights, direction
    )

    def loss_of_predictions(flat: Vector) -> Tensor:
        return loss(keras.tree.pack_sequence_as(nest, flat), auxiliary)

    return pull_back(hessian_product(loss_of_predictions, predictions, change))
