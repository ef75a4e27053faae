"""A loss, its gradients and the state it leaves, as a function of tensors.

A pass runs in a `keras.StatelessScope` that says what variables read as and
collects what is written to them. So no pass writes a variable: an exception or
a kill between two passes finds the weights as they were, and a second pass
starts from the same statistics and random seeds as the first.

State is a list with one value for each of `state_variables`: normalization
statistics, seeds, metrics, and what a method stores.
"""

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine.examples import batch_size
from keras_sam.engine.examples import leading_predictions
from keras_sam.engine.objectives import Objective
from keras_sam.engine.objectives import Objectives
from keras_sam.engine.scopes import AfterUpdate
from keras_sam.engine.scopes import PassScope
from keras_sam.types import Batch
from keras_sam.types import Gradients
from keras_sam.types import Tensor
from keras_sam.types import Vector


class Pass(NamedTuple):
    """A forward and a backward pass.

    Attributes:
        loss: Scalar.
        gradients: `Gradients`, with loss scaling; `None` also where they were
            not wanted.
        auxiliary: What else the function returned.
        state: Values of the state variables after the pass.
        unlisted: Other variables that were written, and their new values.
        by_outputs: The gradients of the loss by the predictions, if they were
            requested.
    """

    loss: Tensor
    gradients: Gradients
    auxiliary: Any
    state: list[Tensor]
    unlisted: list[tuple[keras.Variable, Tensor]]
    by_outputs: Gradients | None = None


def run_pass(
    function: Callable[[], tuple[Tensor, Any]],
    variables: list[keras.Variable],
    weights: Vector,
    state_variables: list[keras.Variable],
    state: list[Tensor],
    wanted: list[int],
    loss_scale: Tensor | None = None,
) -> Pass:
    """Call a function at some weights and differentiate what it returns.

    The gradients are taken while the scope is open, so that layers that are
    computed again in the backward pass read the same values.

    Args:
        function: Returns a scalar and anything else.
        variables: The trainable variables.
        weights: What they read as.
        state_variables: The variables that the state is of.
        state: What they read as at first.
        wanted: The positions of the weights to differentiate by.
        loss_scale: Scalar that the loss is multiplied by before it is
            differentiated, or `None`.

    Returns:
        `Pass`.
    """
    scope = PassScope()
    scope.put(state_variables, state)
    listed = {id(variable) for variable in state_variables}

    @contextlib.contextmanager
    def open_at(weights: Vector) -> Iterator[None]:
        scope.put(variables, weights)
        with scope:
            yield

    def evaluate() -> tuple[Tensor, Any]:
        loss, auxiliary = backend.with_pure_randomness(function)
        _check_written(scope, variables)
        following = list(map(scope.get_current_value, state_variables))
        unlisted = [
            scope.get_current_value(variable)
            for key, variable in scope.written.items()
            if key not in listed
        ]
        scaled = times(loss_scale, loss)
        return scaled, (loss, auxiliary, following, unlisted)

    (loss, auxiliary, following, values), gradients = (
        backend.auxiliary_and_gradients(evaluate, open_at, weights, wanted)
    )
    unlisted = [v for key, v in scope.written.items() if key not in listed]
    found: Gradients = [None] * len(weights)
    for i, gradient in zip(wanted, gradients):
        found[i] = gradient
    return Pass(loss, found, auxiliary, following, [*zip(unlisted, values)])


class TrainingLoss:
    """The training loss of a compiled, built model, and its metrics."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        # A model lists its variables anew each time that it is asked.
        self.variables = model.trainable_variables
        self.state_variables = state_variables(model)
        self._iterations = {
            id(variable): backend.read(variable)
            for variable in backend.iterations(model.optimizer)
        }
        self.objectives = Objectives(model)

    def run(
        self,
        batch: Batch,
        weights: Vector,
        state: list[Tensor],
        wanted: list[int],
        loss_scale: Tensor | None,
        objective: Objective | None = None,
        holds_outputs: bool = False,
    ) -> Pass:
        """Return a pass over a batch, its `auxiliary` the predictions.

        Args:
            batch: `Batch`.
            weights: See `run_pass`, as for the next three.
            state: Values of `state_variables`.
            wanted: Positions of weights.
            loss_scale: Scalar or `None`.
            objective: What is differentiated; `None` for the loss.
            holds_outputs: Whether the pass has `by_outputs`.
        """

        def evaluate() -> tuple[Tensor, Any]:
            y_pred, by_outputs = self._predict(batch), None
            if holds_outputs:
                by_outputs = self.objectives.by_outputs(batch, y_pred)
            loss = (objective or self.objectives.training)(batch, y_pred)
            return loss, (y_pred, by_outputs)

        found = run_pass(
            evaluate,
            self.variables,
            weights,
            self.state_variables,
            state,
            wanted,
            loss_scale,
        )
        y_pred, by_outputs = found.auxiliary
        return found._replace(auxiliary=y_pred, by_outputs=by_outputs)

    def of_leading(
        self,
        leading: Batch,
        batch: Batch,
        y_pred: Any,
        weights: Vector,
        state: list[Tensor],
    ) -> Tensor:
        """Return the loss of the first examples of the batch of the last pass.

        It is that of their predictions, if nothing but these makes the loss.
        If the model adds losses or computes the loss itself, the examples are
        evaluated once more, alone, as they were in the clean pass.

        Args:
            leading: Those examples.
            batch: What the last pass was over.
            y_pred: Its predictions.
            weights: What the trainable variables read as.
            state: What the state variables read as at first.
        """

        def evaluate() -> tuple[Tensor, Any]:
            first = None
            if self._is_of_predictions():
                first = leading_predictions(y_pred, batch, leading)
            if first is None:
                first = self._predict(leading)
            return self.objectives.training(leading, first), None

        return run_pass(
            evaluate,
            self.variables,
            weights,
            self.state_variables,
            state,
            wanted=[],
        ).loss

    def update_metrics(
        self, clean: Pass, batch: Batch
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the logs after a pass over a batch, and the new state."""
        loss = backend.unscale_loss_for_distribution(clean.loss)
        scope = AfterUpdate(self._iterations)
        scope.put(self.state_variables, clean.state)
        with scope:
            backend.track_loss(self._model, loss, batch_size(batch))
            x, y, sample_weight = batch
            logs = self._model.compute_metrics(
                x, y, clean.auxiliary, sample_weight
            )
            logs = keras.tree.map_structure(ops.convert_to_tensor, logs)
        return logs, list(map(scope.get_current_value, self.state_variables))

    def update_sharpness(
        self, rise: Tensor, weight: Tensor, state: list[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the log of the rise, the mean so far, and the new state."""
        tracker = self._model._sam.tracker
        scope = PassScope()
        scope.put(self.state_variables, state)
        with scope:
            tracker.update_state(rise, sample_weight=weight)
            logs = {tracker.name: tracker.result()}
        return logs, list(map(scope.get_current_value, self.state_variables))

    def _is_of_predictions(self) -> bool:
        """Return whether the loss of examples is that of their predictions.

        Not if the last pass added losses, nor if the user computes the loss.
        """
        is_own = type(self._model).compute_loss is not _COMPUTE_LOSS
        return not (self._has_added or is_own)

    def _predict(self, batch: Batch) -> Any:
        draws: Any = contextlib.nullcontext()
        if self._model.sam.ascent_fraction < 1:
            draws = backend.draws_by_example()
        with draws:
            y_pred = backend.call_in_training_mode(self._model, batch.x)
        self._has_added = bool(backend.get_stateless_scope().losses)
        return y_pred


_COMPUTE_LOSS = keras.Model.compute_loss


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """Return every variable that a step may write besides the weights."""
    listed = [
        *model.non_trainable_variables,
        *model.metrics_variables,
        *backend.unlisted_state(model),
    ]
    return list({id(variable): variable for variable in listed}.values())


def times(factor: Tensor | None, tensor: Tensor) -> Tensor:
    """Return the product, in the tensor's dtype; `None` stands for 1."""
    if factor is None:
        return tensor
    return tensor * ops.cast(factor, tensor.dtype)


def _check_written(scope: PassScope, variables: list[keras.Variable]) -> None:
    """Check that no weight was written.

    Raises:
        ValueError: Naming the variable.
    """
    for variable in variables:
        if id(variable) in scope.written:
            raise ValueError(
                "A layer writes a trainable weight in its forward pass, as "
                "`keras.layers.SpectralNormalization` does. Such a weight "
                "cannot be perturbed: replace the layer, or train with "
                f"`keras.Model`. Received: {variable.path}"
            )
