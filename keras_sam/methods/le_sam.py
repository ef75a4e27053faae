"""Loss-Equated Sharpness-Aware Minimization."""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_sam import validation
from keras_sam.methods import metrics
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LESAM(SteepestAscent):
    """Perturb until the loss has risen by a budget: `rho` is that budget.

    `e = r * g / ||g||` with `r = min(rho / ||g||, max_radius)`. To first order
    the loss rises by `r * ||g||`, which is `rho` at every step that the largest
    radius does not limit. So `rho` has the unit of the loss, and neither the
    scale of the weights nor that of the gradient enters its choice;
    `keras_sam.suggest_rho` shows the rise that a budget gives.

    Args:
        max_radius: Float > 0. As gradients vanish towards the end of training,
            `rho / ||g||` grows without bound. Defaults to 1.0, ten times a
            usual radius of SAM.
        metric: In which the length is measured; see `SAM`. The budget does not
            depend on it. Defaults to `"euclidean"`.

    Example:
    >>> method = keras_sam.methods.LESAM()
    >>> for length in (10.0, 1.0, 0.01):
    ...     [e] = method.perturb([ops.array([length])], [], 0.1, {})
    ...     print(f"|g| {length}, |e| {float(e[0]):.2f}")
    |g| 10.0, |e| 0.01
    |g| 1.0, |e| 0.10
    |g| 0.01, |e| 1.00

    Raises:
        ValueError: If `max_radius` is not above 0 and finite.

    Reference:
        [Wang et al., 2026](https://arxiv.org/abs/2605.10183). The paper lets
        the budget fall to 0 by a cosine: pass a schedule as `rho`. Deviation:
        no constant is added to `||g||`; a zero gradient perturbs nothing. The
        default budget was best on digits with 40 % wrong labels: 0.1 is as
        good as SAM, 0.2 ended at chance for one seed of three, 0.4 for all
        (`examples/frontier.py`).
    """

    default_rho: ClassVar[float] = 0.1

    max_radius: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            max_radius=validation.number(
                "max_radius", self.max_radius, "(0, inf)"
            ),
            default_rho=type(self).default_rho,
        )

    def perturb(
        self, gradients: Vector, weights: Weights, rho: Tensor, state: State
    ) -> Vector:
        slope = metrics.get(self.metric).norm(gradients, weights)
        # For a slope of 0 the radius does not matter: the perturbation is zero.
        radius = rho / ops.where(slope > 0, slope, 1.0)
        radius = ops.minimum(radius, self.max_radius)
        return super().perturb(gradients, weights, radius, state)
