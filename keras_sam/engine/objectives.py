"""What a pass differentiates: a scalar that has the value of the loss.

An objective takes a batch and predictions. Its gradient is that of the loss; of
another loss, for the perturbation; or of the loss linearized in the
predictions.
"""

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine.scopes import PassScope
from keras_sam.types import Batch
from keras_sam.types import Gradients
from keras_sam.types import Tensor
from keras_sam.types import Vector

Objective = Callable[[Batch, Any], Tensor]


class Objectives:
    """The objectives of a compiled `SAMModel`."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def training(self, batch: Batch, y_pred: Any) -> Tensor:
        """Return the loss that the model is compiled with."""
        x, y, sample_weight = batch
        return backend.compute_loss(self._model, x, y, y_pred, sample_weight)

    def ascent(self, batch: Batch, y_pred: Any) -> Tensor:
        """Return the loss, to be differentiated as `ascent_loss`."""
        model, (_, y, sample_weight) = self._model, batch
        loss = self.training(batch, y_pred)
        ascent = backend.loss_in_place_of_compiled(
            model, model.sam.ascent_loss, y, y_pred, sample_weight
        )
        # An infinite ascent loss has no direction; inf - inf would be NaN.
        change = ops.where(ops.isfinite(ascent), _without_value(ascent), 0.0)
        return ops.stop_gradient(loss) + ops.cast(change, loss.dtype)

    def linear(self, by_outputs: Gradients) -> Objective:
        """Return the loss, linearized in the predictions.

        The gradient at w + e is `J(w + e)^T d`, with the gradients d of the
        loss by the predictions at w. What a model adds to the loss, such as
        regularizers, depends on the weights in other ways, and is
        differentiated as it is.

        Args:
            by_outputs: d.
        """

        def objective(batch: Batch, y_pred: Any) -> Tensor:
            leaves = _leaves(y_pred)
            slopes = [
                # The logit of a class that is ruled out may be infinite.
                ops.sum(ops.where(d == 0, d, d * ops.cast(z, d.dtype)))
                for d, z in zip(by_outputs, leaves)
                if d is not None
            ]
            constant = _with_leaves(y_pred, map(ops.stop_gradient, leaves))
            loss = self.training(batch, constant)
            return loss + _without_value(ops.cast(sum(slopes), loss.dtype))

        return objective

    def by_outputs(self, batch: Batch, y_pred: Any) -> Gradients:
        """Return the gradients of the loss by the predictions.

        They are float32 at least, so that none is lost to the range of float16.
        """
        leaves = [ops.stop_gradient(z) for z in _leaves(y_pred)]
        dtypes = [keras.backend.standardize_dtype(z.dtype) for z in leaves]
        are_real = [*map(keras.backend.is_float_dtype, dtypes)]
        wide = [
            ops.cast(z, keras.backend.result_type(dtype, "float32"))
            if is_real
            else z
            for z, dtype, is_real in zip(leaves, dtypes, are_real)
        ]
        point: Vector = []
        added = backend.get_stateless_scope().losses

        @contextlib.contextmanager
        def open_at(values: Vector) -> Iterator[None]:
            point[:] = values
            # What the loss writes is written once.
            with PassScope() as scope:
                scope.losses.extend(added)
                yield

        _, found = backend.auxiliary_and_gradients(
            lambda: (self.training(batch, _with_leaves(y_pred, point)), None),
            open_at,
            wide,
            [i for i, is_real in enumerate(are_real) if is_real],
        )
        gradients = iter(found)
        return [next(gradients) if is_real else None for is_real in are_real]


def _leaves(y_pred: Any) -> list[Tensor]:
    return keras.tree.flatten(y_pred)


def _with_leaves(y_pred: Any, leaves: Any) -> Any:
    """Return other predictions in the same nest, with the same masks."""
    leaves = list(leaves)
    for old, new in zip(_leaves(y_pred), leaves):
        mask = backend.get_keras_mask(old)
        if mask is not None:
            backend.set_keras_mask(new, mask)
    return keras.tree.pack_sequence_as(y_pred, leaves)


def _without_value(tensor: Tensor) -> Tensor:
    """Return zero, to be differentiated as the tensor."""
    return tensor - ops.stop_gradient(tensor)
