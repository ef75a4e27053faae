"""Surrogate Gap Guided Sharpness-Aware Minimization."""

import dataclasses

import keras

from keras_sam import validation
from keras_sam import vectors
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Vector


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class GSAM(SteepestAscent):
    """Apply `h`, and narrow the gap between the two losses.

    `u = h - alpha * (g - (g . h) h / ||h||^2)`: the part of `g` orthogonal to
    `h` is subtracted. To first order this does not change the perturbed loss,
    and raises the loss at the weights, so that the gap between them narrows.
    With `alpha=0` this is SAM. In the paper the radius is a function of the
    learning rate: see `keras_sam.schedules.ProportionalToLearningRate`.

    Args:
        alpha: Float >= 0, how much of the orthogonal part is subtracted. The
            paper uses 0.01 for ResNets and 0.4 to 1.0 for vision
            transformers on ImageNet (table 4). Defaults to 0.1: of the 0.4 of
            the authors' PyTorch example, which is adaptive with a radius of
            2, a small network on digits with wrong labels learned nothing
            (`examples/frontier.py`).
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> g, h = [ops.array([2.0, 1.0])], [ops.array([3.0, 0.0])]
    >>> [u] = keras_sam.methods.GSAM(alpha=0.1).combine(g, h, {})
    >>> print(ops.convert_to_numpy(u).round(3))
    [ 3.  -0.1]

    Raises:
        ValueError: If `alpha` is negative or not finite.

    Reference:
        [Zhuang et al., 2022](https://arxiv.org/abs/2203.08065), algorithm 1,
        and the authors' code in
        [big_vision](https://github.com/google-research/big_vision).
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            alpha=validation.number("alpha", self.alpha, "[0, inf)"),
        )

    def combine(
        self, gradients: Vector, perturbed_gradients: Vector, state: State
    ) -> Vector:
        del state
        # With q = (g . h) / ||h||^2, h - alpha (g - q h) is
        # (1 + alpha q) h - alpha g, which reads the vectors once less.
        factor = 1 + self.alpha * vectors.projection_coefficient(
            gradients, perturbed_gradients
        )
        return vectors.subtract(
            vectors.scale(factor, perturbed_gradients),
            vectors.scale(self.alpha, gradients),
        )
