"""Variance-Suppressed Sharpness-Aware Optimization."""

import dataclasses

import keras
from keras import ops

from keras_sam import validation
from keras_sam import vectors
from keras_sam.methods.base import Method
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class VaSSO(Method):
    """Perturb along a moving average of gradients, the present one included.

    `e = rho * d / ||d||` with `d = (1 - theta) * d + theta * g`, so that the
    noise of a single batch changes the direction less. With `theta=1` this is
    SAM.

    Stores one copy of the perturbed weights.

    Args:
        theta: Float in (0, 1], the weight of the present gradient. The
            authors search 0.2 to 0.9. Defaults to 0.9, as in their code.

    Raises:
        ValueError: If `theta` is outside (0, 1].

    Reference:
        [Li and Giannakis, 2023](https://arxiv.org/abs/2309.15639) and the
        [authors' code](https://github.com/BingcongLi/VaSSO).
    """

    theta: float = 0.9

    def __post_init__(self) -> None:
        validation.set_fields(
            self,
            theta=validation.number("theta", self.theta, "(0, 1]"),
        )

    def initial_state(self, weights: Vector) -> State:
        return {"direction": [ops.zeros_like(weight) for weight in weights]}

    def perturb(
        self, gradients: Vector, weights: Weights, rho: Tensor, state: State
    ) -> Vector:
        del weights
        return vectors.with_norm_lazily(rho, self._direction(gradients, state))

    def next_state(
        self,
        gradients: Vector,
        perturbed_gradients: Vector | None,
        state: State,
    ) -> State:
        del perturbed_gradients
        return {"direction": self._direction(gradients, state)}

    def _direction(self, gradients: Vector, state: State) -> Vector:
        # `perturb` and `next_state` are both given the state before the step,
        # so both compute the same d.
        return vectors.interpolate(
            1 - self.theta, state["direction"], gradients
        )
