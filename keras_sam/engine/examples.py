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


_ROUNDING = 1e-4
"""A fraction of a batch that is whole up to rounding stays whole."""
