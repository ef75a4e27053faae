"""Look Sharpness-Aware Minimization."""

import dataclasses

import keras
from keras import ops

from keras_sam import validation
from keras_sam import vectors
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LookSAM(SteepestAscent):
    """Take a step of SAM every few steps, and reuse its direction in between.

    Every `period`-th step is one of SAM, and the part `v` of `h` orthogonal to
    `g` is stored. The other steps apply `g + alpha * (||g|| / ||v||) * v` and
    cost one gradient. With `period=1` this is SAM.

    Stores one copy of the perturbed weights. All norms are over all perturbed
    weights together.

    Args:
        period: Integer >= 1. Defaults to 5, as in the paper.
        alpha: Float >= 0, the length of the reused direction relative to `g`.
            Defaults to 0.7, as in the paper.
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> method = keras_sam.methods.LookSAM(period=3)
    >>> [bool(method.decide(step, None, {})[0]) for step in range(5)]
    [True, False, False, True, False]

    Raises:
        ValueError: If `period` or `alpha` is outside its range.

    Reference:
        [Liu et al., 2022](https://arxiv.org/abs/2203.02714), algorithm 1.
        There is no authors' code.
    """

    period: int = 5
    alpha: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            period=validation.integer("period", self.period),
            alpha=validation.number("alpha", self.alpha, "[0, inf)"),
        )

    def initial_state(self, weights: Vector) -> State:
        return {"direction": [ops.zeros_like(weight) for weight in weights]}

    def decide(
        self, iteration: Tensor, statistic: Tensor | None, state: State
    ) -> tuple[Tensor | bool, State]:
        del statistic
        if self.period == 1:
            return True, state
        return ops.equal(iteration % self.period, 0), state

    def next_state(
        self,
        gradients: Vector,
        perturbed_gradients: Vector | None,
        state: State,
    ) -> State:
        if perturbed_gradients is None:
            return state
        return {"direction": vectors.orthogonal(perturbed_gradients, gradients)}

    def reuse(self, gradients: Vector, state: State) -> Vector:
        # Before the first step of SAM the direction is zero, and so is its
        # multiple of any length: the step is a plain one.
        length = self.alpha * vectors.norm(gradients)
        return vectors.add(
            gradients, vectors.with_norm(length, state["direction"])
        )
