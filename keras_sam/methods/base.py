"""The interface of a sharpness-aware method."""

import abc
import dataclasses
from typing import Any
from typing import ClassVar

from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """A perturbation of the weights, and the gradients to apply after it.

    A step of every method is

    ```
    g = gradient of the loss at w
    e = perturb(g, w, rho, state)
    h = gradient of the loss at w + e
    u = combine(g, h, state)
    state = next_state(g, h, state)
    w = optimizer.apply(u, w)
    ```

    and a step without a second pass applies `reuse(g, state)`. Most methods
    define `perturb` alone.

    A method is independent of models, optimizers and batches. Its functions
    are pure: lists of tensors in, lists of tensors out, in `keras.ops`. The
    lists cover the perturbed variables; if the method defines `combine`, all
    trainable ones, except in `perturb`. A variable that the loss does not
    depend on has a gradient of zeros. Loss scaling is undone. Hyperparameters
    are the fields of a frozen, keyword-only dataclass. To be saved inside a
    `.keras` file, a method is registered with
    `keras.saving.register_keras_serializable`.

    A method declares its properties in class attributes. `default_rho`,
    `needs_gradients` and `holds_outputs` are set by the class; the others
    follow from the functions that it defines:

    | attribute | true if the class defines | effect |
    | --- | --- | --- |
    | `combines` | `combine` | lists cover all trainable variables |
    | `corrects` | `correct` | its result is subtracted past the optimizer |
    | `has_state` | `initial_state` | the state is saved with the model |
    | `decides` | `decide` | some steps are plain |
    | `needs_statistic` | `statistic` | `decide` follows the first pass |
    | `reuses` | `reuse` | plain steps apply its result |

    Attributes:
        default_rho: Class attribute. The radius if `SAMModel` is given none.
        needs_gradients: Class attribute. False if `perturb` does not use the
            gradients at w: the only pass is then the one at w + e, and
            `gradients` in `combine` and `next_state` are those of that pass.
        holds_outputs: Class attribute. Whether h follows the gradient of the
            loss by the predictions at w, so that only the network is
            differentiated at w + e; see `FunctionalSAM`. Not for a method
            with one pass.

    Example:
    >>> class Unnormalized(keras_sam.methods.Method):
    ...     def perturb(self, gradients, weights, rho, state):
    ...         return keras_sam.vectors.scale(rho, gradients)
    >>> inputs = keras.Input((2,))
    >>> outputs = keras.layers.Dense(1)(inputs)
    >>> model = keras_sam.SAMModel(inputs, outputs, method=Unnormalized())
    >>> model.sam.method, model.sam.rho
    (Unnormalized(), 0.05)
    """

    default_rho: ClassVar[float] = 0.05
    needs_gradients: ClassVar[bool] = True
    holds_outputs: ClassVar[bool] = False

    combines: ClassVar[bool] = False
    corrects: ClassVar[bool] = False
    has_state: ClassVar[bool] = False
    decides: ClassVar[bool] = False
    needs_statistic: ClassVar[bool] = False
    reuses: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Attributes that are set stay set in subclasses, which inherit the
        # functions too.
        for function, attribute in _ATTRIBUTES.items():
            if function in vars(cls):
                setattr(cls, attribute, True)

    @abc.abstractmethod
    def perturb(
        self, gradients: Vector, weights: Weights, rho: Tensor, state: State
    ) -> Vector:
        """Return the perturbation e. Called once per (micro-)batch.

        Args:
            gradients: The loss gradients at w.
            weights: The values and roles of the same variables.
            rho: Scalar > 0, the radius at this step.
            state: The method's state.

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
            state: The method's state.

        Returns:
            One tensor per gradient, of its shape. By default the gradients at
            w + e.
        """
        del gradients, state
        return perturbed_gradients

    def correct(
        self, gradients: Vector, perturbed_gradients: Vector
    ) -> Vector | None:
        """Return a correction to subtract from the weights past the optimizer.

        Called once per (micro-)batch, after both passes; the results are
        averaged, multiplied by the learning rate, and subtracted after the
        optimizer's update.

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
        """Return the method's state before the first step.

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
        """Return the method's state after a step.

        Called once per (micro-)batch; the results are averaged over
        micro-batches and replicas.

        Args:
            gradients: The loss gradients at w.
            perturbed_gradients: The loss gradients at w + e, or `None` if there
                was no second pass.
            state: The method's state before the step.

        Returns:
            A dictionary as `initial_state` returns. By default `state`.
        """
        del gradients, perturbed_gradients
        return state

    def statistic(self, gradients: Vector) -> Tensor:
        """Return the number that `decide` is given.

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

        Called once per step: before the first pass, or after it if the method
        defines `statistic`. The statistic is the mean over micro-batches and
        replicas, so that all of them agree.

        Args:
            iteration: Integer scalar, the optimizer's iteration.
            statistic: Scalar; `None` if the method has none.
            state: The method's state.

        Returns:
            A boolean scalar, by default `True`, and a dictionary as
            `initial_state` returns.
        """
        del iteration, statistic
        return True, state

    def reuse(self, gradients: Vector, state: State) -> Vector:
        """Return the gradients to apply at a step without a second pass.

        Called once per step, and only while rho is above 0.

        Args:
            gradients: The loss gradients at w, of the whole batch: their mean
                over replicas.
            state: The method's state.

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
