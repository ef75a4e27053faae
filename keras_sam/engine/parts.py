"""Both passes over each part of a batch: m-sharpness on one device."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine.loss import Rows
from keras_sam.engine.loss import Seen
from keras_sam.engine.two_passes import Climb
from keras_sam.engine.two_passes import Gradients
from keras_sam.engine.two_passes import Outcome
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.validation import check_batch_size

if TYPE_CHECKING:
    from keras_sam.engine.step import Step


class Parts:
    """The parts of a batch.

    They are consecutive and differ by at most one example in size: first the
    smaller ones, then the larger ones. A loop over them is one loop for each
    size; where the batch size is known and a multiple of the number of parts
    there is only one.

    Args:
        num_parts: Integer >= 1. A batch with fewer examples has one part for
            each.
        batch_size: Integer scalar.
    """

    def __init__(self, num_parts: int, batch_size: Tensor) -> None:
        if isinstance(batch_size, int):
            self.count = min(num_parts, batch_size)
        else:
            self.count = ops.minimum(num_parts, batch_size)
        small = batch_size // self.count
        num_large = batch_size % self.count
        num_small = self.count - num_large
        groups = [
            (0, small, num_small),
            (num_small * small, small + 1, num_large),
        ]
        self._groups = [
            group for group in groups if not _is_known_zero(group[2])
        ]

    def scan(
        self,
        function: Callable[[Any, Rows], tuple[Any, Any]],
        carry: Any,
        leading: Callable[[Rows], Rows],
        positions: Callable[[Tensor], Tensor],
    ) -> tuple[Any, Any, Tensor]:
        """Call `carry, output = function(carry, rows)` for each part.

        Args:
            function: Takes a nest of tensors and `Rows`. Its output is a nest
                of tensors with one row for each of `leading(rows)`.
            carry: Nest of tensors.
            leading: Which rows of a part the outputs are of.
            positions: `Passes.positions`.

        Returns:
            The last carry, the outputs one after another, and the positions of
            their rows in the batch.
        """
        gain = ops.cast(self.count, "float32")
        part = backend.traced_once(
            lambda carry, start, size: function(carry, Rows(start, size, gain))
        )
        collected: list[Any] = []
        index = []
        for start, size, repeats in self._groups:
            if len(self._groups) > 1:
                size = backend.shared_size(size)
            num_rows = leading(Rows(start, size, gain)).size
            carry, output = backend.scan(
                part,
                carry,
                start,
                size,
                repeats,
                num_rows,
                like=collected[0] if collected else None,
            )
            collected.append(output)
            index.append(positions(_indices(start, size, num_rows, repeats)))
        outputs = keras.tree.map_structure(
            lambda *parts: ops.concatenate(parts, axis=0), *collected
        )
        return carry, outputs, ops.concatenate(index, axis=0)


def run(step: "Step", state: list[Tensor], rho: Tensor) -> Outcome:
    """Perturb each part by its own gradient and average what comes back.

    Args:
        step: `Step`.
        state: Values of `state_variables`; each part starts from what the
            first pass of the previous one left.
        rho: Scalar > 0.

    Returns:
        `Outcome`.
    """
    batch_size = step.sharp_climber.passes.batch_size
    check_batch_size(step.model, batch_size)
    parts = Parts(step.settings.num_microbatches, batch_size)
    if not step.method.has_own("statistic"):
        return _run(step, state, step.method_state(state), rho, parts)
    statistic = _mean_statistic(step, state, parts)
    is_active, remembered = step.decide(statistic, state)
    return step.either(
        is_active,
        lambda: _run(step, state, remembered, rho, parts),
        lambda: step.one_pass(step.with_method_state(state, remembered)),
        remembered,
        rho,
    )


class _Sums:
    """Running sums of what the parts give, as a nest that a loop carries."""

    def __init__(self, step: "Step", remembered: State) -> None:
        self._weights = step.climber.weights
        self._present: tuple[set[int], set[int]] = (set(), set())
        zeros = [ops.zeros_like(weight) for weight in self._weights]
        has_correction = step.method.has_own("correct")
        self.start = (
            zeros,
            zeros if has_correction else [],
            keras.tree.map_structure(ops.zeros_like, remembered),
            ops.zeros(()),
            ops.zeros((), "float32"),
        )

    def add(self, sums: Any, climb: Climb, share: Tensor) -> Any:
        """Return the sums with those of one part added."""
        gradients, correction, remembered, losses, rise = sums
        loss = ops.cast(sum(climb.seen.losses), losses.dtype)
        return (
            self._added(gradients, climb.gradients, 0),
            self._added(correction, climb.correction, 1),
            keras.tree.map_structure(
                lambda a, b: a + ops.cast(b, a.dtype),
                remembered,
                climb.method_state,
            ),
            losses + ops.cast(share, loss.dtype) * loss,
            rise + climb.rise,
        )

    def mean(self, sums: Any, count: Tensor) -> Any:
        """Return gradients, corrections, method state, losses and rise."""
        gradients, correction, remembered, losses, rise = sums
        divided = keras.tree.map_structure(
            lambda t: t / ops.cast(count, t.dtype), (remembered, rise)
        )
        return (
            self._mean(gradients, count, 0),
            self._mean(correction, count, 1),
            divided[0],
            losses,
            divided[1],
        )

    def _added(
        self, sums: list[Tensor], found: Gradients, which: int
    ) -> list[Tensor]:
        self._present[which].update(found)
        return [
            total + backend.densify(found[i]) if i in found else total
            for i, total in enumerate(sums)
        ]

    def _mean(self, sums: list[Tensor], count: Tensor, which: int) -> Gradients:
        return {
            i: sums[i] / ops.cast(count, sums[i].dtype)
            for i in sorted(self._present[which])
        }


def _run(
    step: "Step",
    state: list[Tensor],
    remembered: State,
    rho: Tensor,
    parts: Parts,
) -> Outcome:
    sums = _Sums(step, remembered)
    climber = step.sharp_climber
    batch_size = ops.cast(climber.passes.batch_size, "float32")

    def part(carry: Any, rows: Rows) -> tuple[Any, Any]:
        state, running = carry
        climb = climber.look_and_climb(
            state, remembered, rho, step.leading(rows), rows
        )
        share = ops.cast(rows.size, "float32") / batch_size
        running = sums.add(running, climb, share)
        return (climb.seen.state, running), climb.seen.y_pred

    (state, running), y_pred, index = parts.scan(
        lambda carry, rows: step.call(lambda: part(carry, rows)),
        (state, sums.start),
        step.leading,
        climber.passes.positions,
    )
    gradients, correction, remembered, losses, rise = sums.mean(
        running, parts.count
    )
    logs, state = step.report_of_rows(
        Seen(y_pred, [losses], state), index, rise
    )
    state = step.with_method_state(state, remembered)
    return Outcome(gradients, correction, state, logs)


def _mean_statistic(step: "Step", state: list[Tensor], parts: Parts) -> Tensor:
    """Return the mean over the parts, of a pass that leaves nothing else."""
    climber = step.sharp_climber

    def part(carry: Any, rows: Rows) -> tuple[Any, Any]:
        state, total = carry
        look = climber.look(state, step.leading(rows), climber.domain)
        statistic = climber.method.statistic(climber.in_domain(look.gradients))
        return (look.seen.state, total + statistic), look.seen.y_pred

    (_, total), _, _ = parts.scan(
        part,
        (state, ops.zeros(())),
        step.leading,
        climber.passes.positions,
    )
    return total / ops.cast(parts.count, total.dtype)


def _is_known_zero(count: Tensor) -> bool:
    return isinstance(count, int) and count == 0


def _indices(
    start: Tensor, step: Tensor, size: Tensor, count: Tensor
) -> Tensor:
    """Return the rows of `count` parts, the first `size` of every `step`."""
    starts = start + step * ops.expand_dims(ops.arange(count), 1)
    return starts + ops.expand_dims(ops.arange(size), 0)
