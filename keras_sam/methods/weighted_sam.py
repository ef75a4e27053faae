"""Weighted Sharpness-Aware Minimization."""

import dataclasses

import keras

from keras_sam import validation
from keras_sam import vectors
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Vector


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedSAM(SteepestAscent):
    """Minimize a weighted sum of the loss and its sharpness.

    `u = g + a (h - g)` with `a = gamma / (1 - gamma)`. With `gamma=0` this is
    the plain optimizer, with `gamma=0.5` it is SAM; a larger `gamma` gives
    sharpness more weight. `a` below 1 is the gradient norm penalty of
    [Zhao et al., 2022](https://arxiv.org/abs/2202.03599).

    If decoupled, the optimizer is given `g`, and `learning_rate * a * (h - g)`
    is subtracted from the weights separately, without momentum,
    preconditioning and clipping. Both forms are the same for SGD without
    momentum.

    Args:
        gamma: Float in [0, 1), the weight of sharpness. The authors find 0.8
            to 0.95 useful. Defaults to 0.9, as in their code.
        decoupled: Boolean. Defaults to `True`, as in the paper.
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> g, h = [ops.array([1.0, 1.0])], [ops.array([1.0, 2.0])]
    >>> method = keras_sam.methods.WeightedSAM(gamma=0.9, decoupled=False)
    >>> [u] = method.combine(g, h, {})
    >>> print(ops.convert_to_numpy(u).round(3))
    [ 1. 10.]

    Raises:
        ValueError: If `gamma` is outside [0, 1).

    Reference:
        [Yue et al., 2023](https://arxiv.org/abs/2305.15817), algorithms 1 and
        2, and the
        [authors' code](https://github.com/intelligent-machine-learning/atorch).
        Deviation: the code clips `g` and `h` separately before taking their
        difference; here only the optimizer clips, and only its own gradients.
    """

    gamma: float = 0.9
    decoupled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            gamma=validation.number("gamma", self.gamma, "[0, 1)"),
        )

    def combine(
        self, gradients: Vector, perturbed_gradients: Vector, state: State
    ) -> Vector:
        del state
        if self.decoupled:
            return gradients
        return vectors.add(
            gradients, self._sharpness(gradients, perturbed_gradients)
        )

    def correct(
        self, gradients: Vector, perturbed_gradients: Vector
    ) -> Vector | None:
        if not self.decoupled:
            return None
        return self._sharpness(gradients, perturbed_gradients)

    def _sharpness(
        self, gradients: Vector, perturbed_gradients: Vector
    ) -> Vector:
        # The objective (1 - gamma) L(w) + gamma (L(w + e) - L(w)), divided by
        # 1 - gamma so that the plain gradient keeps its length.
        difference = vectors.subtract(perturbed_gradients, gradients)
        return vectors.scale(self.gamma / (1 - self.gamma), difference)
