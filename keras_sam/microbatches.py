"""Both passes over each part of a batch: m-sharpness on one device."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.passes import Rows
from keras_sam.passes import Seen
from keras_sam.types import Tensor

if TYPE_CHECKING:
    from keras_sam.step import Outcome
    from keras_sam.step import Step


def run(step: "Step", state: list[Tensor], rho: Tensor) -> "Outcome":
    """Perturb each part by its own gradient and average what comes back.

    The parts are consecutive and differ by at most one example in size: first
    the larger ones, then the smaller ones, one loop for each size. Where the
    batch size is known and a multiple of the number of parts there is one.

    Args:
        step: `Step`.
        state: Values of `state_variables`; each part starts from what the
            first pass of the previous one left.
        rho: Scalar > 0.

    Returns:
        `Outcome`.
    """
    batch_size = step.passes.batch_size
    count = _fewer(step.settings.num_microbatches, batch_size)
    small = batch_size // count
    num_large = batch_size % count
    present: set[int] = set()

    def part(carry: Any, start: Tensor, size: Tensor) -> tuple[Any, Any]:
        state, gradients, losses, rise = carry
        rows = Rows(start, size, ops.cast(count, "float32"))
        ascent = step.ascend(state, rho, step.leading(rows), rows)
        present.update(
            i for i, g in enumerate(ascent.gradients) if g is not None
        )
        gradients = [
            total if g is None else total + backend.densify(g)
            for total, g in zip(gradients, ascent.gradients)
        ]
        share = ops.cast(size, "float32") / ops.cast(batch_size, "float32")
        loss = ops.cast(sum(ascent.seen.losses), "float32")
        carry = (
            ascent.seen.state,
            gradients,
            losses + share * loss,
            rise + ascent.rise,
        )
        return carry, ascent.seen.y_pred

    zeros = [ops.zeros_like(weight) for weight in step.weights]
    carry = (state, zeros, ops.zeros(()), ops.zeros(()))
    num_small = count - num_large
    groups = [
        (0, small, num_small),
        (num_small * small, small + 1, num_large),
    ]
    predictions, index = [], []
    for start, size, repeats in groups:
        if isinstance(repeats, int) and repeats == 0:
            continue
        seen_size = step.leading(Rows(start, size, 1.0)).size
        carry, y_pred = backend.scan(
            _part_of_size(part, size),
            carry,
            start,
            size,
            repeats,
            seen_size,
            like=predictions[0] if predictions else None,
        )
        predictions.append(y_pred)
        index.append(_indices(start, size, seen_size, repeats))

    state, gradients, losses, rise = carry
    y_pred = keras.tree.map_structure(
        lambda *parts: ops.concatenate(parts, axis=0), *predictions
    )
    mean = [
        total / ops.cast(count, total.dtype) if i in present else None
        for i, total in enumerate(gradients)
    ]
    return step.outcome_of_rows(
        mean,
        Seen(y_pred, [losses], state),
        ops.concatenate(index, axis=0),
        rise / ops.cast(count, rise.dtype),
    )


def _part_of_size(part: Callable[..., Any], size: Tensor) -> Callable[..., Any]:
    return lambda carry, start: part(carry, start, size)


def _fewer(count: int, batch_size: Tensor) -> Tensor:
    if isinstance(batch_size, int):
        return min(count, batch_size)
    return ops.minimum(count, batch_size)


def _indices(start: Tensor, step: Tensor, size: Tensor, count: Tensor) -> Tensor:
    """Return the rows of `count` parts, the first `size` of every `step`."""
    starts = start + step * ops.expand_dims(ops.arange(count), 1)
    return ops.reshape(starts + ops.expand_dims(ops.arange(size), 0), (-1,))
