"""Friendly Sharpness-Aware Minimization."""

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
class FriendlySAM(SteepestAscent):
    """Perturb along the part of the gradient that is specific to the batch.

    `e = rho * d / ||d||` with `d = g - sigma * m`, where `m` is a moving
    average of the gradients of earlier batches, which estimates the full
    gradient. At the first step `d = g`, and `m` becomes `g`; later
    `m = decay * m + (1 - decay) * g`. With `sigma=0` this is SAM.

    Stores one copy of the perturbed weights.

    Args:
        sigma: Float, how much of the average is subtracted. Defaults to 1.0,
            as in the authors' code.
        decay: Float in [0, 1). Defaults to 0.9, as in the authors' code, whose
            scripts use 0.6 to 0.95.
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> method = keras_sam.methods.FriendlySAM()
    >>> earlier, g = [ops.array([3.0, 0.0])], [ops.array([3.0, 1.0])]
    >>> state = method.next_state(earlier, None, method.initial_state(earlier))
    >>> [e] = method.perturb(g, [], 0.05, state)
    >>> print(ops.convert_to_numpy(e).round(3))
    [0.   0.05]

    Raises:
        ValueError: If `decay` is outside [0, 1) or `sigma` is not finite.

    Reference:
        [Li et al., 2024](https://arxiv.org/abs/2403.12350) and the
        [authors' code](https://github.com/nblt/F-SAM). As in the code, the
        average does not include the present gradient; in the paper it does.
        For `sigma=1` the direction is the same.
    """

    sigma: float = 1.0
    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            sigma=validation.number("sigma", self.sigma, "(-inf, inf)"),
            decay=validation.number("decay", self.decay, "[0, 1)"),
        )

    def initial_state(self, weights: Vector) -> State:
        return {
            "average": [ops.zeros_like(weight) for weight in weights],
            "has_started": ops.zeros(()),
        }

    def direction(self, gradients: Vector, state: State) -> Vector:
        usual = vectors.scale(self.sigma, state["average"])
        return vectors.subtract(gradients, usual)

    def next_state(
        self,
        gradients: Vector,
        perturbed_gradients: Vector | None,
        state: State,
    ) -> State:
        del perturbed_gradients
        # 0 at the first step: the average starts at g, unbiased by the zeros
        # that it is created with.
        decay = self.decay * state["has_started"]
        return {
            "average": vectors.interpolate(decay, state["average"], gradients),
            "has_started": ops.ones(()),
        }
