"""Steepest ascent: what most methods have in common."""

import dataclasses
from typing import Any

import keras

from keras_sam import validation
from keras_sam.methods import metrics
from keras_sam.methods.base import Method
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class SteepestAscent(Method):
    """A method that perturbs along a direction d: `e = rho * d / ||d||`.

    In a metric with the operator `T` it is `e = rho * T^2 d / ||T d||`.

    Args:
        metric: `"euclidean"`, `"adaptive"` (that of ASAM), or a
            `keras_sam.methods.AdaptiveMetric` with other settings. The default
            radius of a method is ten times as large in the adaptive metric.
            Defaults to `"euclidean"`.

    Raises:
        ValueError: If `metric` is none of these.
    """

    metric: Any = "euclidean"

    def __post_init__(self) -> None:
        metric = self.metric
        if isinstance(metric, dict):
            metric = keras.saving.deserialize_keras_object(metric)
        factor = metrics.get(metric).radius_factor
        validation.set_fields(
            self,
            metric=metric,
            default_rho=factor * type(self).default_rho,
        )

    def direction(self, gradients: Vector, state: State) -> Vector:
        """Return d, by default the gradients at w."""
        del state
        return gradients

    def perturb(
        self, gradients: Vector, weights: Weights, rho: Tensor, state: State
    ) -> Vector:
        direction = self.direction(gradients, state)
        return metrics.get(self.metric).steepest(rho, direction, weights)
