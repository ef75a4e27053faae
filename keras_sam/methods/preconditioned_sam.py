"""Preconditioned Sharpness-Aware Minimization."""

import dataclasses
from typing import Any

import keras
from keras import ops

from keras_sam import validation
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Vector


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PreconditionedSAM(SteepestAscent):
    """Perturb along the direction of Adam: for those who train with AdamW.

    `e = rho * d / ||d||` with `d = g / (sqrt(v / (1 - beta^t)) + epsilon)` and
    `v = beta * v + (1 - beta) * g^2`, the second moment of Adam, this step's
    gradient included. Where gradients of layers differ by orders of magnitude,
    as in transformers, SAM moves the few largest; here all weights move.

    Stores one copy of the perturbed weights.

    Args:
        beta: Float in [0, 1), `beta_2` of Adam. Defaults to 0.999, as there.
        epsilon: Float > 0. Defaults to 1e-8, as in Adam's paper.
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> method = keras_sam.methods.PreconditionedSAM()
    >>> g = [ops.array([100.0, 1.0])]
    >>> [e] = method.perturb(g, [], 0.05, method.initial_state(g))
    >>> print(ops.convert_to_numpy(e).round(3))
    [0.035 0.035]

    Raises:
        ValueError: If `beta` or `epsilon` is outside its range.

    Reference:
        [Singh et al., 2025](https://arxiv.org/abs/2502.02407), who find it to
        help language models; there is no authors' code. The moment is that of
        the gradients at w, also where an optimizer has one of those at w + e.
    """

    beta: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            beta=validation.number("beta", self.beta, "[0, 1)"),
            epsilon=validation.number("epsilon", self.epsilon, "(0, inf)"),
        )

    def initial_state(self, weights: Vector) -> State:
        return {
            # Squares of the gradients of float16 weights leave its range.
            "second_moment": [
                ops.zeros(weight.shape, _wide(weight.dtype))
                for weight in weights
            ],
            # beta^t: what is still missing of the weights of the mean.
            "missing": ops.ones((), _wide(keras.config.floatx())),
        }

    def direction(self, gradients: Vector, state: State) -> Vector:
        state = self.next_state(gradients, None, state)
        present = 1 - state["missing"]
        return [
            ops.cast(g, v.dtype)
            / (ops.sqrt(v / ops.cast(present, v.dtype)) + self.epsilon)
            for g, v in zip(gradients, state["second_moment"])
        ]

    def next_state(
        self,
        gradients: Vector,
        perturbed_gradients: Vector | None,
        state: State,
    ) -> State:
        del perturbed_gradients
        return {
            "second_moment": [
                self.beta * v
                + (1 - self.beta) * ops.square(ops.cast(g, v.dtype))
                for g, v in zip(gradients, state["second_moment"])
            ],
            "missing": self.beta * state["missing"],
        }


def _wide(dtype: Any) -> str:
    """Return float32, or a dtype that is wider."""
    dtype = keras.backend.standardize_dtype(dtype)
    return str(keras.backend.result_type(dtype, "float32"))
