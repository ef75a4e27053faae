"""Stable Sharpness-Aware Minimization."""

import dataclasses

import keras

from keras_sam import vectors
from keras_sam.methods import metrics
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class StableSAM(SteepestAscent):
    """Apply the direction of `h` at the length of `g`.

    `u = h * ||g|| / ||h||`. Near a minimum the gradient at w + e is much
    longer than that at w, which makes SAM unstable; at the length of `g` a
    larger learning rate stays stable.

    Args:
        normalized: Boolean. If false, `e = rho * g`: the perturbation is not
            divided by the norm. Defaults to `True`.
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> g, h = [ops.array([1.0, 0.0])], [ops.array([0.0, 50.0])]
    >>> [u] = keras_sam.methods.StableSAM().combine(g, h, {})
    >>> print(ops.convert_to_numpy(u).round(3))
    [0. 1.]

    Reference:
        [Tan et al., 2025](https://arxiv.org/abs/2401.07250) and the
        [authors' code](https://github.com/cltan023/stablesam2024), which has
        both forms: normalized in `sam.py`, not in `usam.py`, the one that its
        README uses.
    """

    normalized: bool = True

    def perturb(
        self, gradients: Vector, weights: Weights, rho: Tensor, state: State
    ) -> Vector:
        if not self.normalized:
            rho = rho * metrics.get(self.metric).norm(gradients, weights)
        return super().perturb(gradients, weights, rho, state)

    def combine(
        self, gradients: Vector, perturbed_gradients: Vector, state: State
    ) -> Vector:
        del state
        return vectors.with_norm(vectors.norm(gradients), perturbed_gradients)
