"""Adaptive Sharpness-Aware Minimization."""

import dataclasses
from typing import ClassVar

import keras

from keras_sam import validation
from keras_sam.methods.base import Method
from keras_sam.methods.metrics import AdaptiveMetric
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ASAM(Method):
    """Perturb in the metric of the weights: `e = rho * T^2 g / ||T g||`.

    `T` is diagonal, with the entry `|w| + eta` for each weight of a kernel, an
    embedding or a normalization scale, and 1 for biases and offsets. The
    neighbourhood then scales with the weights, so that rescaling a layer
    without changing the function does not change its sharpness. The length of
    `T^-1 e` is `rho`; that of `e` is not.

    A useful radius is about ten times that of SAM. The default is 0.5, the
    authors' choice for CIFAR-10; for CIFAR-100 they use 1.0.

    Args:
        eta: Float >= 0. With a positive value, weights of zero are perturbed
            too. Defaults to 0.01, as in the authors' code.
        scale_all: Boolean, whether biases and offsets are scaled as well. With
            `eta=0` this is the variant of several PyTorch packages, which
            requires a radius about four times larger. Defaults to `False`.

    Example:
    >>> from keras_sam.types import Weight
    >>> weights = [Weight(ops.array([10.0, 1.0]), "kernel")]
    >>> method = keras_sam.methods.ASAM(eta=0)
    >>> [e] = method.perturb([ops.array([1.0, 1.0])], weights, 0.5, {})
    >>> print(ops.convert_to_numpy(e).round(3))
    [4.975 0.05 ]

    Raises:
        ValueError: If `eta` is negative or not finite.

    Reference:
        [Kwon et al., 2021](https://arxiv.org/abs/2102.11600), equation 8 with
        p = 2 and the operator of section 4, and the
        [authors' code](https://github.com/SamsungLabs/ASAM), which scales
        every parameter whose name contains "weight": in PyTorch that is
        kernels, embeddings and the scales of normalization layers.
    """

    default_rho: ClassVar[float] = 0.5

    eta: float = 0.01
    scale_all: bool = False

    def __post_init__(self) -> None:
        validation.set_fields(
            self,
            eta=validation.number("eta", self.eta, "[0, inf)"),
        )

    def perturb(
        self, gradients: Vector, weights: Weights, rho: Tensor, state: State
    ) -> Vector:
        del state
        metric = AdaptiveMetric(eta=self.eta, scale_all=self.scale_all)
        return metric.steepest(rho, gradients, weights)
