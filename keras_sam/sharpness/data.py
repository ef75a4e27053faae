"""The data of a measure: all that `fit` takes, as the batches of its steps."""

import itertools
import math
import operator
from collections.abc import Iterator
from typing import Any

import keras

from keras_sam import backend
from keras_sam import validation
from keras_sam.types import Batch


def batches(
    model: keras.Model,
    x: Any,
    y: Any,
    sample_weight: Any,
    batch_size: int,
    limit: int | None = None,
) -> list[tuple[Batch, int]]:
    """Return the data as the batches of a step of `fit`, with their sizes.

    Data are read by the `evaluate` of the model, so that preprocessing in its
    class applies here as well. Batches are kept in memory, so that every
    product has the same examples even if a data set shuffles or augments.

    Args:
        model: A `keras.Model`.
        x: Any `x` of `fit`, or an iterator of batches. It must end.
        y: Targets for arrays; `None` with batches.
        sample_weight: Weights for arrays, or `None`.
        batch_size: The size of batches that arrays are split into.
        limit: The maximum number of batches to read.

    Returns:
        At least one `Batch` with its number of examples.

    Raises:
        ValueError: If there is no example, if arrays differ in length, if
            targets are given twice, or if a data set is known to be infinite.
    """
    batch_size = validation.integer("batch_size", batch_size)
    data: dict[str, Any] = {"x": x}
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    if not leaves:
        _refuse_empty(x)
    if all(map(_is_array, leaves)):
        data |= {"y": y, "sample_weight": sample_weight}
        (size, *_) = getattr(leaves[0], "shape", ()) or [0]
        steps = _at_most(limit, math.ceil(size / batch_size))
        data |= {"batch_size": batch_size, "steps": steps}
    elif y is not None or sample_weight is not None:
        raise ValueError(
            "`y` and `sample_weight` must be `None` if `x` yields batches of "
            f"its own. Received: x={x!r}"
        )
    else:
        data |= _finite(x, limit)
    with backend.kept_generators():
        read = backend.batches_of_evaluate(model, **data)
    read = keras.tree.map_structure(backend.as_input, read)
    unpacked = [Batch(*keras.utils.unpack_x_y_sample_weight(b)) for b in read]
    sizes = [_size(batch.x) for batch in unpacked]
    if not sum(sizes):
        _refuse_empty(x)
    return list(zip(unpacked, sizes))


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") or isinstance(leaf, (str, bytes))


def _refuse_empty(x: Any) -> None:
    raise ValueError(f"`x` must hold at least one example. Received: x={x!r}")


def _finite(x: Any, limit: int | None) -> dict[str, Any]:
    """Return arguments of `evaluate` for an `x` that yields batches.

    Raises:
        ValueError: If all batches are requested of an infinite data set.
    """
    if limit is None and _is_endless(x):
        raise ValueError(
            "`x` must have a finite number of batches, which are all kept in "
            "memory. Say how many of them, as with `x.take(10)` for a "
            f"`tf.data.Dataset`. Received: x={x!r}"
        )
    if isinstance(x, keras.utils.PyDataset):
        # Keras would call its `on_epoch_end`, which may shuffle it.
        has_end = x.num_batches is not None
        indices = range(x.num_batches) if has_end else itertools.count()
        x = map(x.__getitem__, indices)
    if isinstance(x, Iterator):
        # Keras warns at the end of a generator if `steps` is not given.
        read = list(itertools.islice(x, limit))
        return {"x": (batch for batch in read), "steps": len(read) or None}
    if limit is not None and hasattr(x, "take"):
        return {"x": x.take(limit)}
    return {"steps": _at_most(limit, operator.length_hint(x))}


def _at_most(limit: int | None, length: int) -> int | None:
    """Return the number of batches to read, of a length that may be unknown.

    Keras warns if there are fewer batches than steps.
    """
    return min(limit, length) if limit and length else limit


def _is_endless(x: Any) -> bool:
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches is None or not math.isfinite(x.num_batches)
    # Of a `tf.data.Dataset`: `tf.data.INFINITE_CARDINALITY` is -1.
    return hasattr(x, "cardinality") and int(x.cardinality()) == -1


def _size(x: Any) -> int:
    return int(next(t.shape[0] for t in keras.tree.flatten(x) if t is not None))
