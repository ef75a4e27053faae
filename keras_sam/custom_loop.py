"""Sharpness-aware gradients for a training loop of one's own."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras

from keras_sam import backend
from keras_sam import methods
from keras_sam import schedules
from keras_sam.engine import roles as kinds
from keras_sam.engine.loss import Seen
from keras_sam.engine.loss import StateScope
from keras_sam.engine.two_passes import Climber
from keras_sam.engine.two_passes import domain
from keras_sam.methods.base import Method
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


class SharpnessAwareGradients(NamedTuple):
    """What `sharpness_aware_gradients` returns.

    Attributes:
        gradients: One for each variable, to be given to an optimizer; `None`
            where the loss does not depend on the variable, zeros on JAX.
        loss: Scalar, the loss at w.
        rise: Scalar, how much higher the loss is at w + e.
        auxiliary: What else the loss function returned, from the pass at w.
        state: What the method remembers, for the next call.
    """

    gradients: Vector
    loss: Tensor
    rise: Tensor
    auxiliary: Any
    state: State


def sharpness_aware_gradients(
    loss_fn: Callable[[], Any],
    variables: list[keras.Variable],
    *,
    method: str | Method = "sam",
    rho: float | Tensor | None = None,
    state: State | None = None,
) -> SharpnessAwareGradients:
    """Compute the gradients of one sharpness-aware step.

    The engine of `SAMModel` for what `fit` does not cover: adversarial
    networks, several optimizers, contrastive losses. It works in eager
    execution, in a compiled function, and in a replica.

    `loss_fn` is called twice. In the second call the variables read as
    perturbed; they are never written. What layers write to other variables,
    batch normalization statistics and seeds, is kept from the first call and
    thrown away from the second, which draws the same random numbers.

    Args:
        loss_fn: Callable without arguments. Returns a scalar, or a tuple of a
            scalar and anything else. Should call layers with `training=True`.
        variables: The trainable `keras.Variable`s that are perturbed and
            differentiated by.
        method: A `keras_sam.methods.Method` or its name; one that decides
            between steps, or corrects weights past the optimizer, needs `fit`.
            Defaults to `"sam"`.
        rho: Finite number >= 0, or a scalar tensor. Defaults to the method's
            own default.
        state: What the previous call returned as `state`; `None` at the first
            step.

    Returns:
        `SharpnessAwareGradients`.

    Raises:
        ValueError: If an argument is outside its range, or the method needs
            `fit`.

    Example:
    ```python
    with_gradients = keras_sam.sharpness_aware_gradients(
        lambda: loss(y, model(x, training=True)),
        model.trainable_variables,
        rho=0.05,
    )
    optimizer.apply(with_gradients.gradients, model.trainable_variables)
    ```
    """
    method = _checked_method(method)
    if rho is None or isinstance(rho, (int, float)):
        rho = schedules.nonnegative(
            "rho", method.default_rho if rho is None else rho
        )
    variables = _checked_variables(variables)
    passes = _FunctionPasses(loss_fn, variables)
    weights = [backend.read(variable) for variable in variables]
    positions = list(range(len(weights)))
    climber = Climber(
        passes,
        method,
        weights,
        [kinds.kind_by_name(variable) for variable in variables],
        positions,
    )
    if state is None:
        seen_by_method = domain(method, positions, positions)
        state = method.initial_state([weights[i] for i in seen_by_method])
    climb = climber.look_and_climb([], state, rho, None, None)
    if climb.correction:
        raise ValueError(
            "`method` must leave the update to the optimizer; use `SAMModel` "
            f"for this one. Received: method={method!r}"
        )
    for variable, value in zip(passes.written, climb.seen.state):
        variable.assign(value)
    return SharpnessAwareGradients(
        [climb.gradients.get(i) for i in positions],
        climb.loss,
        climb.rise,
        climb.seen.y_pred,
        climb.method_state,
    )


class _FunctionPasses:
    """The passes of a loss function; stands in for `Passes`.

    `Seen.y_pred` is the function's other result, and `Seen.state` the new
    values of the variables that were written.

    Attributes:
        written: The variables that the first call wrote.
    """

    def __init__(
        self, loss_fn: Callable[[], Any], variables: list[keras.Variable]
    ) -> None:
        self._loss_fn = loss_fn
        self._variables = variables
        self.written: list[keras.Variable] = []
        self._is_first = True

    def loss_at(
        self, weights: Vector, state: list[Tensor]
    ) -> tuple[Tensor, Seen]:
        """Return the loss at `weights`."""
        del state
        with StateScope([*zip(self._variables, weights)]) as scope:
            result = backend.draw_purely(self._loss_fn)
        loss, auxiliary = (
            result if isinstance(result, tuple) else (result, None)
        )
        updates = scope.updates()
        if self._is_first:
            self.written = [variable for variable, _ in updates]
            self._is_first = False
        return loss, Seen(auxiliary, [], [value for _, value in updates])


def _checked_method(method: str | Method) -> Method:
    method = methods.get(method)
    if method.has_own("is_due") or method.has_own("statistic"):
        raise ValueError(
            "`method` must be one that climbs at every step; use `SAMModel` "
            f"for this one. Received: method={method!r}"
        )
    return method


def _checked_variables(variables: Any) -> list[keras.Variable]:
    variables = list(variables)
    if not variables or not all(
        isinstance(v, keras.Variable) and v.trainable for v in variables
    ):
        raise ValueError(
            "`variables` must be a non-empty list of trainable "
            f"`keras.Variable`s. Received: variables={variables!r}"
        )
    return variables
