"""What a sharpness-aware method is."""

import abc
import dataclasses
from typing import Any
from typing import ClassVar

from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weight


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """Where to look for a higher loss, and what to follow once there.

    A step of every method is

    ```
    g = gradient of the loss at w
    e = perturb(g, w, rho)
    h = gradient of the loss at w + e
    u = combine(g, h)
    w = optimizer.apply(u, w)
    ```

    A method knows no model, optimizer or batch. Its functions are pure: lists
    of tensors in, lists of tensors out, in `keras.ops`. Hyperparameters are
    the fields of a frozen, keyword-only dataclass. To be saved inside a
    `.keras` file, a method is registered with
    `keras.saving.register_keras_serializable`.

    Attributes:
        default_rho: Class attribute. The radius used when `SAMModel` is given
            none.
    """

    default_rho: ClassVar[float] = 0.05

    @property
    def mixes_gradients(self) -> bool:
        """Whether the method has a `combine` of its own.

        If so, the first pass computes the gradients of every trainable
        variable, otherwise only of the perturbed ones.
        """
        return type(self).combine is not Method.combine

    @abc.abstractmethod
    def perturb(
        self,
        gradients: Vector,
        weights: list[Weight],
        rho: Tensor,
        state: State,
    ) -> Vector:
        """Return the perturbation e. Called once per (micro-)batch.

        Args:
            gradients: The loss gradients at w of the perturbed variables,
                without those that have none. Loss scaling is undone.
            weights: The values and kinds of the same variables.
            rho: Scalar > 0, the radius at this step.
            state: What the method remembers.

        Returns:
            One tensor per gradient, of its shape.
        """

    def combine(
        self, gradients: Vector, perturbed_gradients: Vector, state: State
    ) -> Vector:
        """Return the gradients that the optimizer applies at w.

        Called once per (micro-)batch, after both passes.

        Args:
            gradients: The loss gradients at w.
            perturbed_gradients: The loss gradients at w + e of the same
                variables.
            state: What the method remembers.

        Returns:
            One tensor per gradient, of its shape. By default the gradients at
            w + e.
        """
        del gradients, state
        return perturbed_gradients

    def get_config(self) -> dict[str, Any]:
        """Return the hyperparameters as a dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Method":
        """Return the method with these hyperparameters."""
        return cls(**config)
