"""Variance-Suppressed Sharpness-Aware Optimization."""

import dataclasses

import keras
from keras import ops

from keras_sam import validation
from keras_sam import vectors
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Vector


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class VaSSO(SteepestAscent):
    """Perturb along a moving average of gradients, the present one included.

    `e = rho * d / ||d||` with `d = (1 - theta) * d + theta * g`, so that the
    noise of a single batch changes the direction less. With `theta=1` this is
    SAM.

    Stores one copy of the perturbed weights.

    Args:
        theta: Float in (0, 1], the weight of the present gradient. The
            authors search 0.2 to 0.9. Defaults to 0.9, as in their code.
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> method = keras_sam.methods.VaSSO(theta=0.5)
    >>> earlier, g = [ops.array([1.0, 0.0])], [ops.array([0.0, 1.0])]
    >>> state = method.next_state(earlier, None, method.initial_state(earlier))
    >>> [e] = method.perturb(g, [], 0.05, state)
    >>> print(ops.convert_to_numpy(e).round(3))
    [0.035 0.035]

    Raises:
        ValueError: If `theta` is outside (0, 1].

    Reference:
        [Li and Giannakis, 2023](https://arxiv.org/abs/2309.15639) and the
        [authors' code](https://github.com/BingcongLi/VaSSO).
    """

    theta: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            theta=validation.number("theta", self.theta, "(0, 1]"),
        )

    def initial_state(self, weights: Vector) -> State:
        return {
            "direction": [ops.zeros_like(weight) for weight in weights],
            "has_started": ops.zeros(()),
        }

    def direction(self, gradients: Vector, state: State) -> Vector:
        # `perturb` and `next_state` are both given the state before the step,
        # so both compute the same d.
        decay = (1 - self.theta) * state["has_started"]
        return vectors.interpolate(decay, state["direction"], gradients)

    def next_state(
        self,
        gradients: Vector,
        perturbed_gradients: Vector | None,
        state: State,
    ) -> State:
        del perturbed_gradients
        return {
            "direction": self.direction(gradients, state),
            "has_started": ops.ones(()),
        }
