"""A step is the mean over the parts of a batch.

Each part is a batch of its own, and counts with its share of the examples.
There are three ways to go over them: the whole batch as one part, parts one
after another, and, in `keras_sam.trainers.jax.device_groups`, side by side.
Each has a method `mean(function, batch, state, constants)`, where
`function(batch, state, constants)` returns the `PartResult` of a part.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine.examples import batch_size
from keras_sam.engine.examples import take
from keras_sam.engine.results import Mean
from keras_sam.engine.results import PartResult
from keras_sam.types import Batch
from keras_sam.types import Tensor

PartFunction = Callable[[Batch, list[Tensor], Any], PartResult]


class Whole:
    """The batch is one part."""

    def mean(
        self,
        function: PartFunction,
        batch: Batch,
        state: list[Tensor],
        constants: Any,
    ) -> PartResult:
        """Return the result for the batch."""
        return function(batch, state, constants)


class OneAfterAnother:
    """Consecutive parts, each with the state that the one before it left.

    They differ by at most one example in size: first the smaller ones, then
    the larger ones. A loop over them is one loop for each size; where the
    batch size is known and a multiple of the number of parts there is only
    one.

    Args:
        num_parts: Integer >= 1. A batch with fewer examples has one part for
            each.
    """

    def __init__(self, num_parts: int) -> None:
        self._num_parts = num_parts

    def mean(
        self,
        function: PartFunction,
        batch: Batch,
        state: list[Tensor],
        constants: Any,
    ) -> PartResult:
        """Return the mean over the parts, the last state and the last logs."""
        total = batch_size(batch)

        def part(
            state: list[Tensor], start: Tensor, size: Tensor
        ) -> tuple[Mean, list[Tensor], Any]:
            result = function(take(batch, start, size), state, constants)
            share = keras.tree.map_structure(
                lambda t: None if t is None else _share(t, size, total),
                result.mean,
            )
            return share, result.state, result.logs

        return PartResult(
            *backend.sum_in_turn(part, state, sizes(self._num_parts, total))
        )


def sizes(
    num_parts: int, batch_size: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return how a batch is divided into consecutive parts.

    Args:
        num_parts: Integer >= 1.
        batch_size: Integer scalar.

    Returns:
        For the smaller and the larger parts, as far as it is known that there
        are any: where the first one starts, their size and their number. An
        empty batch is one empty part.
    """
    if isinstance(batch_size, int):
        count = max(min(num_parts, batch_size), 1)
    else:
        count = ops.maximum(ops.minimum(num_parts, batch_size), 1)
    small = batch_size // count
    num_large = batch_size % count
    num_small = count - num_large
    smaller = (0, small, num_small)
    if isinstance(num_large, int) and num_large == 0:
        return [smaller]
    return [smaller, (num_small * small, small + 1, num_large)]


def _share(tensor: Tensor, size: Tensor, total: Tensor) -> Tensor:
    """Return `size / total` of a tensor, as a tensor.

    The quotient has the dtype that it multiplies: a third in float32 is wrong
    by 1e-8, which float64 would show.
    """
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype in ("float16", "bfloat16"):
        dtype = "float32"
    # Of an empty batch its one part is all.
    share = ops.cast(ops.maximum(size, 1), dtype) / ops.cast(
        ops.maximum(total, 1), dtype
    )
    return ops.cast(ops.cast(tensor, dtype) * share, tensor.dtype)
