"""Momentum Sharpness-Aware Minimization."""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_sam import validation
from keras_sam import vectors
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MomentumSAM(SteepestAscent):
    """Perturb along the coming update, at the cost of a plain step.

    `e = -rho * m / ||m||` with `m = momentum * m + h`, the decayed sum that
    the optimizer's momentum is too. There is one pass, at w + e. The sign is
    negative on purpose: `w + e` lies ahead in the direction of the update. At
    the first step `m` and `e` are zero.

    Without the loss at w, `loss` and the metrics are those at w + e, and
    `sharpness` is the first-order estimate `h . e` of the rise, which is
    mostly negative. Stores one copy of the perturbed weights. Evaluation uses
    the weights themselves; nothing has to be swapped back.

    Args:
        momentum: Float in [0, 1). Should be that of the optimizer: `momentum`
            of SGD, `beta_1` of Adam; at a constant learning rate and without
            clipping, `m` then has exactly the direction of the optimizer's
            momentum. Defaults to 0.9.
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> method = keras_sam.methods.MomentumSAM()
    >>> h = [ops.array([3.0, 4.0])]
    >>> state = method.next_state(h, None, method.initial_state(h))
    >>> [e] = method.perturb([], [], method.default_rho, state)
    >>> print(ops.convert_to_numpy(e).round(3))
    [-0.18 -0.24]

    Raises:
        ValueError: If `momentum` is outside [0, 1).

    Reference:
        [Becker et al., 2024](https://arxiv.org/abs/2401.12033) and the
        [authors' code](https://github.com/MarlonBecker/MSAM). The default
        radius of 0.3 is that of their optimizer class; for CIFAR they
        recommend 3. As in the code, m does not contain the learning rate,
        which the momentum of Keras' SGD does. Deviation: in the code m is
        made of clipped gradients, here of those before clipping.
    """

    default_rho: ClassVar[float] = 0.3
    needs_gradients: ClassVar[bool] = False

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            momentum=validation.number("momentum", self.momentum, "[0, 1)"),
        )

    def initial_state(self, weights: Vector) -> State:
        return {"momentum": [ops.zeros_like(weight) for weight in weights]}

    def perturb(
        self, gradients: Vector, weights: Weights, rho: Tensor, state: State
    ) -> Vector:
        return super().perturb(gradients, weights, -rho, state)

    def direction(self, gradients: Vector, state: State) -> Vector:
        del gradients
        return state["momentum"]

    def next_state(
        self,
        gradients: Vector,
        perturbed_gradients: Vector | None,
        state: State,
    ) -> State:
        # `gradients` are those at w + e, since `needs_gradients` is false.
        del perturbed_gradients
        decayed = vectors.scale(self.momentum, state["momentum"])
        return {"momentum": vectors.add(decayed, gradients)}
