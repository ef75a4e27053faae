"""What is measured on: arrays, or anything that yields batches."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sam import validation
from keras_sam.types import Batch


def batches(
    x: Any, y: Any, sample_weight: Any, batch_size: int
) -> list[tuple[Batch, int]]:
    """Return the data as batches of tensors, with their sizes.

    Batches are kept in memory, so that every product sees the same examples,
    whatever a data set shuffles or augments.

    Args:
        x: Array of shape `(num_examples, ...)` or a nest of arrays; or a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch
            `DataLoader` or another iterable that yields `x`, `(x, y)` or
            `(x, y, sample_weight)` for each batch. It must end.
        y: Targets for arrays; `None` with batches.
        sample_weight: Weights for arrays, or `None`.
        batch_size: The size of batches that arrays are cut into.

    Returns:
        At least one `Batch` with its number of examples.

    Raises:
        ValueError: If there is no example, if arrays differ in length, if
            targets are given twice, or if a data set is known to have no end.
    """
    batch_size = validation.integer("batch_size", batch_size)
    if _is_array(x):
        items = _cut((x, y, sample_weight), batch_size)
    else:
        if y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` must be `None` if `x` yields batches "
                f"of its own. Received: x={x!r}"
            )
        items = _each(x)
    found = []
    for item in items:
        data = keras.tree.map_structure(
            lambda t: None if t is None else ops.convert_to_tensor(t), item
        )
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        found.append((batch, _size(batch.x)))
    if not sum(size for _, size in found):
        raise ValueError(f"`x` must hold at least one example. Received: {x!r}")
    return found


def _is_array(x: Any) -> bool:
    """Return whether `x` is an array or a nest of arrays."""
    leaves = keras.tree.flatten(x)
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def _each(x: Any) -> Iterable[Any]:
    if _is_endless(x):
        raise ValueError(
            "`x` must have a finite number of batches, which are all kept in "
            "memory. Say how many of them, as with `x.take(10)` for a "
            f"`tf.data.Dataset`. Received: x={x!r}"
        )
    if isinstance(x, keras.utils.PyDataset):
        return (x[i] for i in range(x.num_batches))
    if not isinstance(x, Iterable):
        raise ValueError(
            "`x` must be an array, a nest of arrays, or an iterable of "
            f"batches. Received: x={x!r} (of type {type(x)})"
        )
    return x


def _is_endless(x: Any) -> bool:
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches is None or not math.isfinite(x.num_batches)
    # Of a `tf.data.Dataset`: `tf.data.INFINITE_CARDINALITY` is -1.
    return hasattr(x, "cardinality") and int(x.cardinality()) == -1


def _cut(data: tuple[Any, Any, Any], batch_size: int) -> Iterable[Any]:
    leaves = [t for t in keras.tree.flatten(data) if t is not None]
    lengths = [len(leaf) for leaf in leaves]
    if len(set(lengths)) > 1:
        raise ValueError(
            "`x`, `y` and `sample_weight` must have the same length. "
            f"Received: lengths {lengths}"
        )
    data = keras.tree.map_structure(_as_floatx, data)
    for start in range(0, lengths[0], batch_size):
        stop = start + batch_size
        yield keras.tree.map_structure(
            lambda t, a=start, b=stop: None if t is None else t[a:b], data
        )


def _as_floatx(leaf: Any) -> Any:
    """Return floating-point arrays in Keras' own precision, as `fit` does."""
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f":
        return leaf.astype(keras.config.floatx())
    return leaf


def _size(x: Any) -> int:
    return int(next(t.shape[0] for t in keras.tree.flatten(x) if t is not None))
