"""A model's training loss as a pure function of tensors.

Nothing here writes a variable. A pass runs the model in a
`keras.StatelessScope` that maps its trainable variables to given tensors and
collects what the layers would have written to the others. So an exception or
a kill between two passes finds the weights as they were, and a second pass
starts from the same statistics and random seeds as the first.

The state that flows through is the list of values of `state_variables`:
normalization statistics, seeds, metrics.
"""

from collections.abc import Iterable
from typing import Any
from typing import NamedTuple

import keras
from keras import ops

from keras_sam import backend
from keras_sam.types import Batch
from keras_sam.types import Tensor
from keras_sam.types import Vector


class Rows(NamedTuple):
    """Consecutive examples of a batch.

    Attributes:
        start: Integer scalar, the first of them.
        size: Integer scalar, how many.
        gain: Scalar. The loss of these examples is multiplied by it.
    """

    start: Tensor
    size: Tensor
    gain: Tensor


class Seen(NamedTuple):
    """What a forward pass leaves behind.

    Attributes:
        y_pred: Nest of predictions.
        losses: List of scalars: regularization and `add_loss`.
        state: Values of `state_variables`.
        whole: Nest of predictions for a whole batch, of which only those in
            `y_pred` have a gradient; `None` if `y_pred` is of a whole batch.
    """

    y_pred: Any
    losses: list[Tensor]
    state: list[Tensor]
    whole: Any = None


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """Return every variable that a step may write besides the weights."""
    return (
        model.non_trainable_variables
        + model.metrics_variables
        + backend.global_seed_variables()
    )


class Passes:
    """The passes of one step: one model, one batch.

    Args:
        model: A compiled, built model.
        batch: `Batch`.

    Attributes:
        batch_size: Integer scalar, of which `Rows` are a part.
        trainable_variables: Those of the model.
        state_variables: Those of the model; a model lists its variables anew
            each time it is asked.
    """

    def __init__(self, model: keras.Model, batch: Batch) -> None:
        self.model = model
        self.batch = batch
        self.batch_size = _batch_size(batch.x)
        self.has_masks = False
        self.trainable_variables = model.trainable_variables
        self.state_variables = state_variables(model)

    def forward(self, weights: Vector, state: list[Tensor], x: Any) -> Seen:
        """Return what the model in training mode makes of x."""
        with self._scope(weights, state) as scope:
            y_pred = backend.draw_purely(
                lambda: backend.call_in_training_mode(self.model, x)
            )
            losses = self.model.losses
        self.has_masks = self.has_masks or _has_masks(y_pred)
        return Seen(y_pred, losses, self._updated(scope, state))

    def loss(
        self,
        weights: Vector,
        seen: Seen,
        batch: Batch,
        share: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return `compute_loss` of predictions, and the state after it.

        A loss may use weights directly. Each part of a batch then carries its
        `share` of the gradient of that term.
        """
        x, y, sample_weight = batch
        with (
            backend.losses_of(self.model, seen.losses),
            self._scope(weights, seen.state) as scope,
        ):
            scope.share = share
            loss = backend.draw_purely(
                lambda: backend.compute_loss(
                    self.model, x, y, seen.y_pred, sample_weight
                )
            )
        return loss, self._updated(scope, seen.state)

    def loss_at(
        self, weights: Vector, state: list[Tensor]
    ) -> tuple[Tensor, Seen]:
        """Return the loss of the whole batch at `weights`."""
        seen = self.forward(weights, state, self.batch.x)
        loss, state = self.loss(weights, seen, self.batch)
        return loss, seen._replace(state=state)

    def loss_of_rows(
        self, weights: Vector, state: list[Tensor], rows: Rows, filling: Any
    ) -> tuple[Tensor, Seen]:
        """Return what some examples contribute to the loss of the batch.

        Only these examples go through the model. Their predictions are then
        set into those of a whole batch, and the loss is that of the whole
        batch: so it weighs each example as the whole batch does, whatever its
        reduction and the sample weights are. The predictions for the other
        examples have no gradient.

        Args:
            weights: Vector of all trainable variables.
            state: Values of `state_variables`.
            rows: `Rows`.
            filling: `Seen.whole` of another pass, with the predictions for
                the other examples; `None` to repeat those for `rows`.

        Returns:
            The loss times `rows.gain`, and `Seen`. What the other examples
            add to it is the same in two calls with the same filling, and in
            the call that the filling comes from.
        """
        index = rows.start + ops.arange(rows.size)
        seen = self.forward(weights, state, self.take_at(self.batch.x, index))
        seen = seen._replace(whole=self._embed(seen, rows, filling, weights))
        return self.contribution(weights, seen, rows), seen

    def contribution(self, weights: Vector, seen: Seen, rows: Rows) -> Tensor:
        """Return the loss of `seen.whole`, times `rows.gain`."""
        share = ops.cast(rows.size, "float32") / ops.cast(
            self.batch_size, "float32"
        )
        losses = [ops.cast(share, loss.dtype) * loss for loss in seen.losses]
        whole = Seen(seen.whole, losses, seen.state)
        loss, _ = self.loss(weights, whole, self.batch, share)
        return ops.cast(rows.gain, loss.dtype) * loss

    def first_rows(
        self, weights: Vector, seen: Seen, rows: Rows, filling: Any
    ) -> Seen:
        """Return `seen` with the first predictions set in at `rows`."""
        first = self.take_at(seen.y_pred, ops.arange(rows.size))
        seen = seen._replace(y_pred=first)
        return seen._replace(whole=self._embed(seen, rows, filling, weights))

    def take_at(self, nest: Any, index: Tensor) -> Any:
        """Return the examples at `index` of every tensor in a nest."""
        return take_at(nest, index)

    def spread(self, flags: Tensor) -> Tensor:
        """Return flags of shape `(batch_size,)` for the whole batch."""
        return flags

    def positions(self, index: Tensor) -> Tensor:
        """Return where examples are in the whole batch.

        Args:
            index: Integers of shape `(num_parts, num_rows)`.

        Returns:
            A vector in the order of predictions for these parts, one part
            after another.
        """
        return ops.reshape(index, (-1,))

    def report(
        self,
        seen: Seen,
        batch: Batch,
        loss: Tensor,
        rise: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Update the metrics.

        Args:
            seen: `Seen` of the first pass.
            batch: The examples that it saw.
            loss: Scalar, their loss.
            rise: Scalar, how much higher the loss is at w + e; `None` if there
                was no second pass.

        Returns:
            The logs, and the new state.
        """
        loss = backend.unscale_loss_for_distribution(loss)
        with self._scope([], seen.state) as scope:
            backend.track_loss(self.model, loss, _batch_size(batch.x))
            logs = self.model.compute_metrics(
                batch.x, batch.y, seen.y_pred, batch.sample_weight
            )
            tracker = self.model._sam.tracker
            if rise is not None:
                tracker.update_state(*self._unless_skipped(rise))
            logs = {**logs, tracker.name: tracker.result()}
        return logs, self._updated(scope, seen.state)

    def _unless_skipped(self, rise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return a rise and its weight, 0 where loss scaling skips the step.

        Dynamic loss scaling begins with a scale that is too large, so that
        gradients overflow. The perturbation and the rise are then not finite.
        """
        if backend.loss_scale(self.model.optimizer) is None:
            return rise, None
        is_finite = ops.isfinite(rise)
        return ops.where(is_finite, rise, 0.0), ops.cast(is_finite, rise.dtype)

    def masks(self, weights: Vector, state: list[Tensor]) -> list[Tensor]:
        """Return the masks of the predictions of the whole batch.

        A compiler drops all of this forward pass but the masks.
        """
        y_pred = self.forward(weights, state, self.batch.x).y_pred
        return [backend.get_keras_mask(p) for p in keras.tree.flatten(y_pred)]

    def _embed(
        self, seen: Seen, rows: Rows, filling: Any, weights: Vector
    ) -> Any:
        index = ops.arange(self.batch_size)
        inside = self.spread(
            ops.logical_and(index >= rows.start, index < rows.start + rows.size)
        )
        source = (index - rows.start) % rows.size

        def embed(prediction: Tensor, other: Tensor | None) -> Tensor:
            repeated = self.take_at(prediction, source)
            other = ops.stop_gradient(repeated) if other is None else other
            shape = (-1,) + (1,) * (len(prediction.shape) - 1)
            return ops.where(ops.reshape(inside, shape), repeated, other)

        if filling is None:
            filling = keras.tree.map_structure(lambda _: None, seen.y_pred)
        else:
            filling = keras.tree.map_structure(ops.stop_gradient, filling)
        whole = keras.tree.map_structure(embed, seen.y_pred, filling)
        if self.has_masks:
            set_masks(whole, self.masks(weights, seen.state))
        return whole

    def _scope(self, weights: Vector, state: list[Tensor]) -> "StateScope":
        mapping = [
            *zip(self.trainable_variables, weights),
            *zip(self.state_variables, state),
        ]
        return StateScope(mapping, collect_losses=True)

    def _updated(
        self, scope: "StateScope", state: list[Tensor]
    ) -> list[Tensor]:
        scope.check(self.trainable_variables, self.state_variables)
        return [scope.get_current_value(v) for v in self.state_variables]


class StateScope(keras.StatelessScope):
    """Remembers which variables were written.

    A variable that it has no value of is read in the scope around it, if there
    is one.

    Args:
        mapping: Variables and their values, tensors of their shapes and dtypes.
        collect_losses: Whether to collect what layers give to `add_loss`.

    Attributes:
        share: Scalar, or `None` for one. Gradients by trainable variables that
            are read in the scope are multiplied by it.
    """

    def __init__(
        self,
        mapping: Iterable[tuple[keras.Variable, Tensor]] = (),
        collect_losses: bool = False,
    ) -> None:
        super().__init__(collect_losses=collect_losses)
        # Keras would convert and check each, in every pass of an eager step.
        self.state_mapping = {id(k): v for k, v in mapping}
        self.share: Tensor | None = None
        self._around = backend.get_stateless_scope()
        self._written: dict[int, keras.Variable] = {}

    def get_current_value(self, variable: keras.Variable) -> Tensor:
        """Return the value in this scope, or `None`."""
        value = super().get_current_value(variable)
        if value is None:
            around = self._around
            return around and around.get_current_value(variable)
        if self.share is None or not variable.trainable:
            return value
        rest = ops.cast(self.share - 1, value.dtype)
        return value + rest * (value - ops.stop_gradient(value))

    def add_update(self, update: tuple[keras.Variable, Tensor]) -> None:
        self._written[id(update[0])] = update[0]
        super().add_update(update)

    def updates(self) -> list[tuple[keras.Variable, Tensor]]:
        """Return what was written: the variables and their last values."""
        return [
            (variable, super(StateScope, self).get_current_value(variable))
            for variable in self._written.values()
        ]

    def check(
        self, weights: list[keras.Variable], state: list[keras.Variable]
    ) -> None:
        """Check that nothing outside `state` was written.

        Raises:
            ValueError: Naming the variable.
        """
        weight_ids = {id(variable) for variable in weights}
        known_ids = {id(variable) for variable in state}
        for variable in self._written.values():
            if id(variable) in weight_ids:
                raise ValueError(
                    "A layer writes a trainable weight in its forward pass, as "
                    "`keras.layers.SpectralNormalization` does. Such a weight "
                    "cannot be perturbed: replace the layer, or train with "
                    f"`keras.Model`. Received: {variable.path}"
                )
            if id(variable) not in known_ids:
                raise ValueError(
                    "A training step writes a variable that the model does "
                    "not track, so that the value would be lost. Make it, or "
                    "the layer or metric that owns it, an attribute of the "
                    f"model or of one of its layers. Received: {variable.path}"
                )


def take(nest: Any, rows: Rows) -> Any:
    """Return some examples of every tensor in a nest."""
    return take_at(nest, rows.start + ops.arange(rows.size))


def take_at(nest: Any, index: Tensor) -> Any:
    """Return the examples at `index` of every tensor in a nest."""
    return keras.tree.map_structure(
        lambda t: None if t is None else ops.take(t, index, axis=0), nest
    )


def set_masks(y_pred: Any, masks: list[Tensor]) -> None:
    """Attach Keras masks to predictions."""
    for prediction, mask in zip(keras.tree.flatten(y_pred), masks):
        if mask is not None:
            backend.set_keras_mask(prediction, mask)


def _batch_size(x: Any) -> Tensor:
    return next(ops.shape(t)[0] for t in keras.tree.flatten(x) if t is not None)


def _has_masks(y_pred: Any) -> bool:
    return any(
        backend.get_keras_mask(prediction) is not None
        for prediction in keras.tree.flatten(y_pred)
    )
