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
    e = perturb(g, w, rho, state)
    h = gradient of the loss at w + e
    u = combine(g, h, state)
    state = next_state(g, h, state)
    w = optimizer.apply(u, w)
    ```

    and a step without a second pass, because rho is 0 or the method is not due,
    follows `reuse(g, state)`. Most methods need `perturb` alone.

    A method knows no model, optimizer or batch. Its functions are pure: lists
    of tensors in, lists of tensors out, in `keras.ops`. The lists cover the
    perturbed variables; with a `combine` of one's own, all trainable ones,
    except in `perturb`. A variable that the loss does not depend on has a
    gradient of zeros. Loss scaling is undone. Hyperparameters are the fields
    of a frozen, keyword-only dataclass. To be saved inside a `.keras` file, a
    method is registered with `keras.saving.register_keras_serializable`.

    A method says what it is in class attributes. The first two are its own;
    the others follow from the functions that a class defines.

    | attribute | true if the method defines | then |
    | --- | --- | --- |
    | `combines` | `combine` | it sees all trainable variables |
    | `corrects` | `correct` | something is subtracted past the optimizer |
    | `has_state` | `initial_state` | the state is saved with the model |
    | `decides` | `decide` | some steps are plain |
    | `needs_statistic` | `statistic` | `decide` comes after the first pass |
    | `reuses` | `reuse` | plain steps follow what it returns |

    Attributes:
        default_rho: Class attribute. The radius used when `SAMModel` is given
            none.
        needs_gradients: Class attribute. False if `perturb` does not use the
            gradients at w: the only pass is then the one at w + e, and
            `gradients` is that pass's own result in `combine` and
            `next_state`.
    """

    default_rho: ClassVar[float] = 0.05
    needs_gradients: ClassVar[bool] = True

    combines: ClassVar[bool] = False
    corrects: ClassVar[bool] = False
    has_state: ClassVar[bool] = False
    decides: ClassVar[bool] = False
    needs_statistic: ClassVar[bool] = False
    reuses: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for function, attribute in _ATTRIBUTES.items():
            if function in vars(cls):
                setattr(cls, attribute, True)

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
            gradients: The loss gradients at w.
            weights: The values and kinds of the same variables.
            rho: Scalar > 0, the radius at this step.
            state: What the method stores.

        Returns:
            One tensor per weight, of its shape.
        """

    def combine(
        self, gradients: Vector, perturbed_gradients: Vector, state: State
    ) -> Vector:
        """Return the gradients that the optimizer applies at w.

        Called once per (micro-)batch, after both passes; the results are
        averaged.

        Args:
            gradients: The loss gradients at w.
            perturbed_gradients: The loss gradients at w + e.
            state: What the method stores.

        Returns:
            One tensor per gradient, of its shape. By default the gradients at
            w + e.
        """
        del gradients, state
        return perturbed_gradients

    def correct(
        self, gradients: Vector, perturbed_gradients: Vector
    ) -> Vector | None:
        """Return what to subtract from the weights past the optimizer.

        Called once per (micro-)batch, after both passes; the results are
        averaged, multiplied by the learning rate, and subtracted once the
        optimizer has been applied.

        Args:
            gradients: The loss gradients at w.
            perturbed_gradients: The loss gradients at w + e.

        Returns:
            One tensor per gradient, of its shape, or `None` for nothing, which
            is the default.
        """
        del gradients, perturbed_gradients
        return None

    def initial_state(self, weights: Vector) -> State:
        """Return what the method stores before the first step.

        Args:
            weights: The values of the variables that the method sees.

        Returns:
            A dictionary of tensors, and of lists with one tensor for each
            weight, saved with the model. Empty by default.
        """
        del weights
        return {}

    def next_state(
        self,
        gradients: Vector,
        perturbed_gradients: Vector | None,
        state: State,
    ) -> State:
        """Return what the method stores after a step.

        Called once per (micro-)batch; the results are averaged over
        micro-batches and replicas.

        Args:
            gradients: The loss gradients at w.
            perturbed_gradients: The loss gradients at w + e, or `None` if there
                was no second pass.
            state: What the method stored before the step.

        Returns:
            A dictionary as `initial_state` returns. By default `state`.
        """
        del gradients, perturbed_gradients
        return state

    def statistic(self, gradients: Vector) -> Tensor:
        """Return the number that `decide` is to see.

        Called once per (micro-)batch, between the passes.

        Args:
            gradients: The loss gradients at w.

        Returns:
            A scalar.
        """
        del gradients
        raise NotImplementedError

    def decide(
        self, iteration: Tensor, statistic: Tensor | None, state: State
    ) -> tuple[Tensor | bool, State]:
        """Return whether there is a second pass at this step.

        Called once per step: before the first pass or, if there is a
        `statistic`, after it, with its mean over micro-batches and replicas, so
        that all of them agree.

        Args:
            iteration: Integer scalar, the optimizer's iteration.
            statistic: Scalar; `None` if the method has none.
            state: What the method stores.

        Returns:
            A boolean scalar, by default `True`, and a dictionary as
            `initial_state` returns.
        """
        del iteration, statistic
        return True, state

    def reuse(self, gradients: Vector, state: State) -> Vector:
        """Return what to follow at a step without a second pass.

        Called once per step, and only while rho is above 0.

        Args:
            gradients: The loss gradients at w, of the whole batch: their mean
                over replicas.
            state: What the method stores.

        Returns:
            One tensor per gradient, of its shape. By default the gradients.
        """
        del state
        return gradients

    def get_config(self) -> dict[str, Any]:
        """Return the hyperparameters as a dictionary."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Method":
        """Return the method with these hyperparameters."""
        return cls(**config)


_ATTRIBUTES = {
    "combine": "combines",
    "correct": "corrects",
    "initial_state": "has_state",
    "decide": "decides",
    "statistic": "needs_statistic",
    "reuse": "reuses",
}
