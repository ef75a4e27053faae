"""A model's training loss as a pure function of tensors.

Nothing here writes a variable. A pass runs the model in a
`keras.StatelessScope` that maps its trainable variables to given tensors and
collects what the layers would have written to the others. So an exception or
a kill between two passes finds the weights as they were, and a second pass
starts from the same statistics and random seeds as the first.

The state that flows through is the list of values of `state_variables`:
normalization statistics, seeds, metrics.
"""

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
    """

    y_pred: Any
    losses: list[Tensor]
    state: list[Tensor]


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
    """

    def __init__(self, model: keras.Model, batch: Batch) -> None:
        self.model = model
        self.batch = batch
        self.batch_size = _batch_size(batch.x)
        self.has_masks = False
        self._trainable = model.trainable_variables
        self._state = state_variables(model)

    def forward(self, weights: Vector, state: list[Tensor], x: Any) -> Seen:
        """Run the model in training mode at `weights`, from `state`."""
        with self._scope(weights, state) as scope:
            y_pred = backend.call_in_training_mode(self.model, x)
            losses = self.model.losses
        self.has_masks = self.has_masks or _has_masks(y_pred)
        return Seen(y_pred, losses, self._updated(scope, state))

    def loss(
        self, weights: Vector, seen: Seen, batch: Batch
    ) -> tuple[Tensor, list[Tensor]]:
        """Return `compute_loss` of predictions, and the state after it."""
        x, y, sample_weight = batch
        with (
            backend.losses_of(self.model, seen.losses),
            self._scope(weights, seen.state) as scope,
        ):
            loss = backend.compute_loss(
                self.model, x, y, seen.y_pred, sample_weight
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
        reduction and the sample weights are. The other predictions are copies
        of `filling`, without a gradient.

        Args:
            weights: Vector of all trainable variables.
            state: Values of `state_variables`.
            rows: `Rows`.
            filling: Nest of predictions that stand for the other examples, or
                `None` for those of `rows` themselves.

        Returns:
            The loss times `rows.gain`, and `Seen`. The constant that comes
            from the filling is the same in two calls with the same filling.
        """
        seen = self.forward(weights, state, take(self.batch.x, rows))
        return self.contribution(weights, seen, rows, filling), seen

    def contribution(
        self, weights: Vector, seen: Seen, rows: Rows, filling: Any
    ) -> Tensor:
        """Return what predictions of some examples contribute to the loss."""
        share = ops.cast(rows.size, "float32") / ops.cast(
            self.batch_size, "float32"
        )
        whole = Seen(
            self._embed(seen.y_pred, rows, filling, seen.state, weights),
            [ops.cast(share, loss.dtype) * loss for loss in seen.losses],
            seen.state,
        )
        loss, _ = self.loss(_shared(share, weights), whole, self.batch)
        return ops.cast(rows.gain, loss.dtype) * loss

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
                tracker.update_state(backend.unscale_loss_for_distribution(rise))
            logs = {**logs, tracker.name: tracker.result()}
        return logs, self._updated(scope, seen.state)

    def masks(self, weights: Vector, state: list[Tensor]) -> list[Tensor]:
        """Return the masks of the predictions of the whole batch.

        A compiler drops all of this forward pass but the masks.
        """
        y_pred = self.forward(weights, state, self.batch.x).y_pred
        return [backend.get_keras_mask(p) for p in keras.tree.flatten(y_pred)]

    def _embed(
        self,
        y_pred: Any,
        rows: Rows,
        filling: Any,
        state: list[Tensor],
        weights: Vector,
    ) -> Any:
        index = ops.arange(self.batch_size)
        inside = ops.logical_and(
            index >= rows.start, index < rows.start + rows.size
        )

        def embed(prediction: Tensor, other: Tensor) -> Tensor:
            own = ops.take(prediction, (index - rows.start) % rows.size, axis=0)
            other = ops.take(other, index % ops.shape(other)[0], axis=0)
            shape = (-1,) + (1,) * (len(prediction.shape) - 1)
            return ops.where(
                ops.reshape(inside, shape), own, ops.stop_gradient(other)
            )

        whole = keras.tree.map_structure(
            embed, y_pred, y_pred if filling is None else filling
        )
        if self.has_masks:
            set_masks(whole, self.masks(weights, state))
        return whole

    def _scope(
        self, weights: Vector, state: list[Tensor]
    ) -> keras.StatelessScope:
        mapping = [*zip(self._trainable, weights), *zip(self._state, state)]
        return _Scope(mapping, collect_losses=True)

    def _updated(
        self, scope: keras.StatelessScope, state: list[Tensor]
    ) -> list[Tensor]:
        scope.check_known([*self._trainable, *self._state])
        return [scope.get_current_value(variable) for variable in self._state]


class _Scope(keras.StatelessScope):
    """Remembers which variables were written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._written: list[keras.Variable] = []

    def add_update(self, update: tuple[keras.Variable, Tensor]) -> None:
        self._written.append(update[0])
        super().add_update(update)

    def check_known(self, variables: list[keras.Variable]) -> None:
        """Raise if a variable outside `variables` was written."""
        known = {id(variable) for variable in variables}
        for variable in self._written:
            if id(variable) not in known:
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


def _shared(share: Tensor, weights: Vector) -> Vector:
    """Return the weights, with gradients multiplied by `share`.

    A custom `compute_loss` may use weights directly; each part of a batch then
    carries its share of that term.
    """
    return [
        w + ops.cast(share - 1, w.dtype) * (w - ops.stop_gradient(w))
        for w in weights
    ]


def _batch_size(x: Any) -> Tensor:
    return next(
        ops.shape(t)[0] for t in keras.tree.flatten(x) if t is not None
    )


def _has_masks(y_pred: Any) -> bool:
    return any(
        backend.get_keras_mask(prediction) is not None
        for prediction in keras.tree.flatten(y_pred)
    )
