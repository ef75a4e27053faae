"""Metrics: what the length of a perturbation is measured in."""

import abc
import dataclasses
from typing import Any
from typing import ClassVar

import keras
from keras import ops

from keras_sam import validation
from keras_sam import vectors
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric(abc.ABC):
    """A norm `||T^-1 e||` of perturbations, with `T` a diagonal operator.

    Of all perturbations of length `rho`, the one along which a loss with the
    gradient `d` rises most is `e = rho * T^2 d / ||T d||`.

    Attributes:
        radius_factor: Class attribute. About how many times larger a useful
            radius is than in the Euclidean metric.
    """

    radius_factor: ClassVar[float] = 1.0

    @abc.abstractmethod
    def steepest(
        self, rho: Tensor, direction: Vector, weights: Weights
    ) -> Vector:
        """Return `rho * T^2 d / ||T d||`, zero if `d` has no finite length."""

    @abc.abstractmethod
    def norm(self, direction: Vector, weights: Weights) -> Tensor:
        """Return `||T d||`, the slope along the steepest perturbation."""

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Metric":
        """Return the metric with these arguments."""
        return cls(**config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EuclideanMetric(Metric):
    """The Euclidean norm over all perturbed weights: `T` is the identity."""

    def steepest(
        self, rho: Tensor, direction: Vector, weights: Weights
    ) -> Vector:
        del weights
        return vectors.with_norm_lazily(rho, direction)

    def norm(self, direction: Vector, weights: Weights) -> Tensor:
        del weights
        return vectors.norm(direction)


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveMetric(Metric):
    """The metric of ASAM, in which a perturbation is relative to the weights.

    `T` has the entry `|w| + eta` for each weight of a kernel, an embedding or a
    normalization scale, and 1 for biases and offsets.

    Args:
        eta: Float >= 0. With a positive value, weights of zero are perturbed
            too. Defaults to 0.01, as in the code of ASAM's authors.
        scale_all: Boolean, whether biases and offsets are scaled as well. With
            `eta=0` this is the operator of several PyTorch packages, among
            them the authors' codes of GSAM, FriendlySAM, WeightedSAM and
            StableSAM; it requires a radius about four times larger. Defaults
            to `False`.

    Example:
    >>> metric = keras_sam.methods.AdaptiveMetric(eta=0, scale_all=True)
    >>> keras_sam.methods.VaSSO(metric=metric).default_rho
    0.5

    Raises:
        ValueError: If `eta` is negative or not finite.

    Reference:
        [Kwon et al., 2021](https://arxiv.org/abs/2102.11600), section 4.
    """

    radius_factor: ClassVar[float] = 10.0

    eta: float = 0.01
    scale_all: bool = False

    def __post_init__(self) -> None:
        validation.set_fields(
            self, eta=validation.number("eta", self.eta, "[0, inf)")
        )

    def steepest(
        self, rho: Tensor, direction: Vector, weights: Weights
    ) -> Vector:
        operator = self._operator(weights)
        scaled = vectors.multiply(operator, direction)
        return vectors.multiply(operator, vectors.with_norm(rho, scaled))

    def norm(self, direction: Vector, weights: Weights) -> Tensor:
        return vectors.norm(
            vectors.multiply(self._operator(weights), direction)
        )

    def _operator(self, weights: Weights) -> Vector:
        return [
            ops.abs(weight.value) + self.eta
            if self.scale_all or weight.role in ("kernel", "scale")
            else ops.ones_like(weight.value)
            for weight in weights
        ]


_BY_NAME = {"euclidean": EuclideanMetric(), "adaptive": AdaptiveMetric()}


def get(identifier: Any) -> Metric:
    """Return the metric that `identifier` stands for.

    Args:
        identifier: `"euclidean"`, `"adaptive"`, or a `Metric`.

    Raises:
        ValueError: If there is no such metric.
    """
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]
    if isinstance(identifier, Metric):
        return identifier
    raise ValueError(
        '`metric` must be "euclidean", "adaptive", or an instance of '
        f"`keras_sam.methods.AdaptiveMetric`. Received: metric={identifier!r}"
    )
