"""Random perturbations."""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_sam import backend
from keras_sam import validation
from keras_sam import vectors
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomAscent(SteepestAscent):
    """Perturb in a random direction, at the cost of a plain step.

    `e = rho * ||w_f|| / sqrt(n_f) * z` for each filter f of n_f weights, with
    `z` standard normal: noise of about `rho` times the length of the filter.
    The expected loss under such noise is what Flat-LoRA lowers. With
    `per_filter=False` it is `e = rho * z / ||z||` over all weights: a random
    direction of exactly the length of SAM's, the control that shows how much
    of a gain is due to its direction.

    There is one pass, at w + e. Without the loss at w, `loss` and the metrics
    are those at w + e, and `sharpness` is the first-order estimate `h . e` of
    the rise. Stores one number, from which and the seed each draw follows: a
    resumed run draws what the uninterrupted one would have drawn, on the same
    backend. All parts of a batch and all replicas draw the same numbers.

    Args:
        per_filter: Boolean, whether the length is relative to each filter, an
            index of the last axis of a weight; a weight of one axis is one
            filter. Defaults to `True`.
        seed: Integer >= 0. Defaults to 0.
        metric: In which the length is measured without `per_filter`; see
            `SAM`. Defaults to `"euclidean"`.

    Example:
    >>> from keras_sam.types import Weight
    >>> method = keras_sam.methods.RandomAscent(per_filter=False)
    >>> weights = [Weight(ops.ones((3, 2)), "kernel")]
    >>> e = method.perturb([], weights, 0.05, method.initial_state([]))
    >>> round(float(keras_sam.vectors.norm(e)), 3)
    0.05

    Raises:
        ValueError: If `seed` is not an integer >= 0, or `metric` is given with
            `per_filter`.

    Reference:
        [Li et al., 2025](https://arxiv.org/abs/2409.14396), with filters
        of all weights in the place of rows of merged ones. The
        [authors' code](https://github.com/nblt/Flat-LoRA) lets the radius rise
        from 0 by a cosine: pass a schedule as `rho`.
    """

    needs_gradients: ClassVar[bool] = False

    per_filter: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_filter and self.metric != "euclidean":
            raise ValueError(
                '`metric` must be "euclidean" where lengths are relative to '
                f"filters (`per_filter`). Received: metric={self.metric!r}"
            )
        validation.set_fields(
            self, seed=validation.integer("seed", self.seed, 0)
        )

    def initial_state(self, weights: Vector) -> State:
        del weights
        return {"num_draws": ops.zeros((), "float32")}

    def perturb(
        self, gradients: Vector, weights: Weights, rho: Tensor, state: State
    ) -> Vector:
        values = [weight.value for weight in weights]
        noise = backend.normal_like(values, self.seed, state["num_draws"])
        if not self.per_filter:
            return super().perturb(noise, weights, rho, state)
        return vectors.scale(
            rho, [_filter_scale(w) * z for w, z in zip(values, noise)]
        )

    def next_state(
        self,
        gradients: Vector,
        perturbed_gradients: Vector | None,
        state: State,
    ) -> State:
        del gradients, perturbed_gradients
        return {"num_draws": state["num_draws"] + 1}


def _filter_scale(weight: Tensor) -> Tensor:
    """Return the root of the mean square of each filter."""
    axes = tuple(range(max(len(weight.shape) - 1, 1)))
    axes = axes[: len(weight.shape)]
    return ops.sqrt(ops.mean(ops.square(weight), axis=axes, keepdims=True))
