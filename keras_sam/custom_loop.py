"""Sharpness-aware gradients for custom training loops."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras
from keras import ops

from keras_sam import backend
from keras_sam import methods
from keras_sam import validation
from keras_sam.engine import roles
from keras_sam.engine.loss import Pass
from keras_sam.engine.loss import run_pass
from keras_sam.engine.two_passes import TwoPasses
from keras_sam.methods.base import Method
from keras_sam.types import Batch
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


class SharpnessAwareGradients(NamedTuple):
    """The result of `keras_sam.sharpness_aware_gradients`.

    Attributes:
        gradients: One for each variable, for an optimizer; `None` if the loss
            does not depend on the variable, zeros on JAX.
        loss: Scalar, the loss at w.
        rise: Scalar, L(w + e) - L(w).
        auxiliary: The second result of the loss function, in the pass at w.
        state: The method's state, for the next call.
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

    The engine of `SAMModel` for training that `fit` does not cover, such as
    adversarial networks, several optimizers or contrastive losses. It works in
    eager execution, in a compiled function, and in a replica.

    `loss_fn` is called twice. In the second call the variables read as
    perturbed; they are never written. Writes of layers to other variables
    (batch normalization statistics, seeds) are kept from the first call and
    discarded from the second, which draws the same random numbers.

    Args:
        loss_fn: Callable without arguments. Returns a scalar, or a tuple of a
            scalar and anything else. Should call layers with `training=True`.
        variables: The trainable `keras.Variable`s to perturb and to
            differentiate by.
        method: A `keras_sam.methods.Method` or its name. A method with plain
            steps, with corrections past the optimizer, or that needs the
            predictions (`FunctionalSAM`) needs `fit`. Defaults to `"sam"`.
        rho: Finite number >= 0, or a scalar tensor. Defaults to the method's
            default.
        state: The `state` of the previous result; `None` at the first step.

    Returns:
        `SharpnessAwareGradients`.

    Raises:
        ValueError: If an argument is outside its range, or the method needs
            `fit`.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> loss = keras.losses.MeanSquaredError()
    >>> optimizer = keras.optimizers.SGD(0.1)
    >>> x, y = np.ones((8, 4)), np.zeros((8, 1))
    >>> result = keras_sam.sharpness_aware_gradients(
    ...     lambda: loss(y, model(x, training=True)),
    ...     model.trainable_variables,
    ...     rho=0.05,
    ... )
    >>> optimizer.apply(result.gradients, model.trainable_variables)
    >>> bool(result.rise > 0), bool(loss(y, model(x)) < result.loss)
    (True, True)
    """
    method = _checked_method(method)
    rho = method.default_rho if rho is None else rho
    if not (ops.is_tensor(rho) or isinstance(rho, keras.Variable)):
        rho = validation.number("rho", rho, "[0, inf)")
    variables = _checked_variables(variables)
    overwritten = roles.overwritten(variables)
    two_passes = TwoPasses(
        _FunctionLoss(loss_fn, variables),
        method,
        [roles.role_by_name(variable) for variable in variables],
        [i for i in range(len(variables)) if i not in overwritten],
        [variable.value for variable in variables],
    )
    if state is None:
        weights = [backend.read(variable) for variable in variables]
        state = method.initial_state(weights)
    result, inspection = two_passes(Batch(None, None, None), [], state, rho)
    mean = result.mean
    if mean.correction:
        raise ValueError(
            "`method` must leave the update to the optimizer; use `SAMModel` "
            f"for this one. Received: method={method!r}"
        )
    auxiliary, written = result.logs["auxiliary"], result.logs["written"]
    for variable, value in written:
        variable.assign(value)
    return SharpnessAwareGradients(
        mean.gradients,
        inspection.loss,
        ops.cast(inspection.rise, "float32"),
        auxiliary,
        mean.method_state,
    )


class _FunctionLoss:
    """The loss of a user's function, with the interface of `TrainingLoss`.

    All variables that the function writes are unlisted state; the logs are the
    second result of the function, and these variables with their values.
    """

    def __init__(
        self, loss_fn: Callable[[], Any], variables: list[keras.Variable]
    ) -> None:
        self._loss_fn = loss_fn
        self.variables = variables

    def run(
        self,
        batch: Batch,
        weights: Vector,
        state: list[Tensor],
        wanted: list[int],
        loss_scale: Tensor | None,
    ) -> Pass:
        """Return a pass; see `run_pass`."""
        del batch

        def function() -> tuple[Tensor, Any]:
            result = self._loss_fn()
            return result if isinstance(result, tuple) else (result, None)

        return run_pass(
            function, self.variables, weights, [], state, wanted, loss_scale
        )

    def update_metrics(
        self, clean: Pass, batch: Batch
    ) -> tuple[dict[str, Any], list[Tensor]]:
        """Return the second result of the function, and its writes."""
        del batch
        auxiliary = {
            "auxiliary": clean.auxiliary,
            "written": clean.unlisted,
        }
        return auxiliary, []


def _checked_method(method: str | Method) -> Method:
    method = methods.get(method)
    if method.decides:
        raise ValueError(
            "`method` must have a second pass at every step; use `SAMModel` "
            f"for this one. Received: method={method!r}"
        )
    if method.holds_outputs:
        raise ValueError(
            "`method` must not need the predictions, which `loss_fn` does not "
            f"return; use `SAMModel` for this one. Received: method={method!r}"
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
