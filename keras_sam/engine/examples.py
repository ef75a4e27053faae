"""Some of the examples of a batch."""

import math
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.types import Batch
from keras_sam.types import Tensor


def batch_size(batch: Batch) -> Tensor:
    """Return the number of examples, an integer if it is known."""
    leaves = keras.tree.flatten(batch.x)
    return next(ops.shape(t)[0] for t in leaves if t is not None)


def check_lengths(batch: Batch) -> Batch:
    """Check that each tensor in a batch has one row for each example.

    Args:
        batch: `Batch`.

    Returns:
        The same batch. Where a length is known only when a step runs, the step
        checks it before it uses the batch.

    Raises:
        ValueError: Naming the tensors and their lengths.
    """
    lengths = {
        name: _length(leaf)
        for field, nest in batch._asdict().items()
        for name, leaf in _named_leaves(field, nest)
        if leaf is not None
    }
    known = {n for n in lengths.values() if n is None or isinstance(n, int)}
    if len(known) > 1 or None in known:
        received = ", ".join(f"{name}: {n}" for name, n in lengths.items())
        raise ValueError(f"{_DIFFERENT_LENGTHS} Received: rows {{{received}}}")
    return backend.with_equal_lengths(batch, lengths, _DIFFERENT_LENGTHS)


_DIFFERENT_LENGTHS = (
    "A batch that is divided (`num_microbatches`, `ascent_fraction`, groups of "
    "devices) must have one row for each example in each of its tensors. "
    "Repeat for each example what examples share, or leave these arguments at "
    'their defaults, with `perturbation="global"` on several devices.'
)


def _named_leaves(name: str, nest: Any) -> list[tuple[str, Any]]:
    """Return the leaves of a nest, each with its name, as `x['a'][0]`."""
    return [
        (name + "".join(f"[{key!r}]" for key in path), leaf)
        for path, leaf in keras.tree.flatten_with_path(nest)
    ]


def _length(tensor: Tensor) -> Tensor | None:
    """Return the number of rows, an integer if it is known.

    That of a scalar is `None`.
    """
    shape = ops.shape(tensor)
    return shape[0] if len(shape) else None


def take(nest: Any, start: Tensor, size: Tensor) -> Any:
    """Return consecutive examples of every tensor in a nest, masks as well."""

    def examples(tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        taken = backend.take(tensor, start, size)
        mask = backend.get_keras_mask(tensor)
        if mask is not None:
            backend.set_keras_mask(taken, backend.take(mask, start, size))
        return taken

    return keras.tree.map_structure(examples, nest)


def leading_examples(batch: Batch, fraction: float) -> Batch | None:
    """Return the first `fraction` of a batch, `None` for all of it.

    At least one example, if there is one.
    """
    if fraction == 1:
        return None
    size = batch_size(batch)
    if isinstance(size, int):
        count = max(math.ceil(fraction * size - _ROUNDING), 1)
        count = min(count, size)
    else:
        exact = fraction * ops.cast(size, "float32") - _ROUNDING
        count = ops.maximum(ops.cast(ops.ceil(exact), size.dtype), 1)
        count = ops.minimum(count, size)
    return take(batch, 0, count)


def leading_predictions(y_pred: Any, batch: Batch, leading: Batch) -> Any:
    """Return the first predictions, those of `leading`.

    Args:
        y_pred: Predictions.
        batch: What they are of.
        leading: The first examples of it.

    Returns:
        As `y_pred`; `None` if an output is not known to have one row for each
        example.
    """
    lengths = {"x": batch_size(batch)} | {
        name: _length(leaf)
        for name, leaf in _named_leaves("y_pred", y_pred)
        if leaf is not None
    }
    are_known = {isinstance(n, int) for n in lengths.values()}
    if None in lengths.values() or len(are_known) > 1:
        return None
    if are_known == {True} and len({*lengths.values()}) > 1:
        return None
    y_pred = backend.with_equal_lengths(y_pred, lengths, _OTHER_OUTPUTS)
    return take(y_pred, 0, batch_size(leading))


_OTHER_OUTPUTS = (
    "With `ascent_fraction`, each output must have one row for each example, "
    "or a shape with a known number of rows."
)

_ROUNDING = 1e-4
"""A fraction of a batch that is whole up to rounding stays whole."""
