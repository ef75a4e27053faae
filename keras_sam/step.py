"""One sharpness-aware step: two passes, and what they leave behind."""

import math
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras
from keras import ops

from keras_sam import backend
from keras_sam import kinds
from keras_sam import microbatches
from keras_sam import vectors
from keras_sam.passes import Passes
from keras_sam.passes import Rows
from keras_sam.passes import Seen
from keras_sam.passes import set_masks
from keras_sam.passes import take_at
from keras_sam.types import Batch
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weight


class Outcome(NamedTuple):
    """What a step hands to the optimizer and to `fit`.

    Attributes:
        gradients: One for each of `model.trainable_variables`, or `None` where
            the loss does not depend on it. Scaled as the optimizer's
            `scale_loss` scales.
        state: New values of `passes.state_variables(model)`.
        logs: What `keras.Model` logs, and `sharpness`.
    """

    gradients: Vector
    state: list[Tensor]
    logs: dict[str, Tensor]


class Ascent(NamedTuple):
    """Both passes over one (micro-)batch.

    Attributes:
        gradients: As in `Outcome`.
        loss: Scalar, the loss at w that the first pass saw.
        rise: Scalar, how much higher it is at w + e.
        seen: `Seen` of the first pass.
        perturbation: Vector of the perturbed variables that have a gradient.
        ascent_gradients: The gradients of the first pass, loss scaling undone.
    """

    gradients: Vector
    loss: Tensor
    rise: Tensor
    seen: Seen
    perturbation: dict[int, Tensor]
    ascent_gradients: dict[int, Tensor]


class Step:
    """A step of `model` on `batch`. Reads variables, writes none.

    Args:
        model: A compiled, built `SAMModel`.
        batch: `Batch`.
    """

    def __init__(self, model: keras.Model, batch: Batch) -> None:
        self.model = model
        self.settings = model.sam
        self.passes = Passes(model, batch)
        self.weights = [backend.read(v) for v in model.trainable_variables]
        self.perturbed = kinds.perturbed(model, self.settings.perturb)
        self.kinds = kinds.kinds(model)
        self.loss_scale = model.optimizer.scale_loss(1.0)

    def run(self, state: list[Tensor]) -> Outcome:
        """Return what the step does from `state`."""
        rho = self.settings.rho_at(self.model.optimizer)
        if isinstance(rho, float):
            return self._two_passes(state, rho) if rho else self._one_pass(state)
        return _either(
            rho > 0,
            lambda: self._two_passes(state, rho),
            lambda: self._one_pass(state),
        )

    def ascend(
        self,
        state: list[Tensor],
        rho: Tensor,
        ascent: Rows | None = None,
        descent: Rows | None = None,
    ) -> Ascent:
        """Climb by the gradients of some examples, and differentiate there.

        Args:
            state: Values of `state_variables`, from which both passes start.
            rho: Scalar > 0.
            ascent: The examples of the first pass; `None` for all.
            descent: The examples of the second pass; `None` for all.

        Returns:
            `Ascent`.
        """
        method = self.settings.method
        everything = list(range(len(self.weights)))
        wanted = everything if method.mixes_gradients else self.perturbed
        loss, seen, gradients = self._differentiate(
            lambda weights: self._loss(weights, state, ascent, None),
            self.weights,
            wanted,
        )
        clean = {i: self._unscaled(g) for i, g in gradients.items()}
        climbing = [i for i in self.perturbed if i in clean]
        perturbation = method.perturb(
            [clean[i] for i in climbing],
            [Weight(self.weights[i], self.kinds[i]) for i in climbing],
            rho,
            {},
        )
        perturbed_weights = list(self.weights)
        for i, e in zip(climbing, perturbation):
            perturbed_weights[i] = vectors.add([self.weights[i]], [e])[0]

        perturbed_loss, perturbed_seen, perturbed_gradients = (
            self._differentiate(
                lambda weights: self._loss(weights, state, descent, seen.y_pred),
                perturbed_weights,
                everything,
            )
        )
        if ascent is not descent:
            perturbed_loss = self.passes.contribution(
                perturbed_weights,
                _first_rows(perturbed_seen, ascent.size),
                ascent,
                seen.y_pred,
            )
        return Ascent(
            gradients=self._combine(clean, perturbed_gradients),
            loss=loss,
            rise=ops.cast(perturbed_loss - loss, "float32"),
            seen=seen,
            perturbation=dict(zip(climbing, perturbation)),
            ascent_gradients=clean,
        )

    def _one_pass(self, state: list[Tensor]) -> Outcome:
        loss, seen, gradients = self._differentiate(
            lambda weights: self.passes.loss_at(weights, state),
            self.weights,
            list(range(len(self.weights))),
        )
        if self.settings.method.mixes_gradients:
            gradients = {i: backend.densify(g) for i, g in gradients.items()}
        logs, state = self.passes.report(seen, self.passes.batch, loss)
        return Outcome(self._in_order(gradients), state, logs)

    def _two_passes(self, state: list[Tensor], rho: Tensor) -> Outcome:
        batch_size = self.passes.batch_size
        if self.settings.num_microbatches > 1:
            return microbatches.run(self, state, rho)
        if self.settings.ascent_fraction < 1:
            leading = self.leading(Rows(0, batch_size, 1.0))
            ascent = self.ascend(state, rho, ascent=leading)
            return self.outcome_of_rows(
                ascent.gradients,
                ascent.seen,
                ops.arange(leading.size),
                ascent.rise,
            )
        ascent = self.ascend(state, rho)
        logs, state = self.passes.report(
            ascent.seen, self.passes.batch, ascent.loss, ascent.rise
        )
        return Outcome(ascent.gradients, state, logs)

    def leading(self, rows: Rows) -> Rows:
        """Return the first `ascent_fraction` of some rows, at least one."""
        fraction = self.settings.ascent_fraction
        if fraction == 1:
            return rows
        if isinstance(rows.size, int):
            size = math.ceil(fraction * rows.size - _ROUNDING)
        else:
            size = ops.ceil(fraction * ops.cast(rows.size, "float32") - _ROUNDING)
            size = ops.cast(size, rows.size.dtype)
        gain = ops.cast(rows.size, "float32") / ops.cast(size, "float32")
        return Rows(rows.start, size, rows.gain * gain)

    def outcome_of_rows(
        self, gradients: Vector, seen: Seen, index: Tensor, rise: Tensor
    ) -> Outcome:
        """Return the outcome where the first pass saw the rows at `index`.

        Their loss is evaluated once more, as that of a batch of their own,
        with the masks and the state that it then updates.
        """
        if self.passes.has_masks:
            masks = self.passes.masks(self.weights, seen.state)
            set_masks(seen.y_pred, take_at(masks, index))
        batch = take_at(self.passes.batch, index)
        loss, state = self.passes.loss(self.weights, seen, batch)
        logs, state = self.passes.report(
            seen._replace(state=state), batch, loss, rise
        )
        return Outcome(gradients, state, logs)

    def _loss(
        self, weights: Vector, state: list[Tensor], rows: Rows | None, filling: Any
    ) -> tuple[Tensor, Seen]:
        if rows is None:
            return self.passes.loss_at(weights, state)
        return self.passes.loss_of_rows(weights, state, rows, filling)

    def _differentiate(
        self,
        loss: Callable[[Vector], tuple[Tensor, Seen]],
        weights: Vector,
        wanted: list[int],
    ) -> tuple[Tensor, Seen, dict[int, Tensor]]:
        def scaled(weights: Vector) -> tuple[Tensor, tuple[Tensor, Seen]]:
            value, seen = loss(weights)
            return self._times_loss_scale(value), (value, seen)

        _, (value, seen), gradients = backend.value_and_gradients(
            scaled, weights, wanted
        )
        found = {
            i: gradient
            for i, gradient in zip(wanted, gradients)
            if gradient is not None
        }
        return value, seen, found

    def _combine(
        self, clean: dict[int, Tensor], perturbed: dict[int, Tensor]
    ) -> Vector:
        """Return what the optimizer applies, with loss scaling."""
        method = self.settings.method
        if method.mixes_gradients:
            both = [i for i in clean if i in perturbed]
            combined = method.combine(
                [clean[i] for i in both],
                [self._unscaled(perturbed[i]) for i in both],
                {},
            )
            combined = [self._times_loss_scale(u) for u in combined]
            perturbed = {**perturbed, **dict(zip(both, combined))}
        if not self._is_unscaled:
            perturbed = _poisoned(perturbed, clean)
        return self._in_order(perturbed)

    def _in_order(self, gradients: dict[int, Tensor]) -> Vector:
        return [gradients.get(i) for i in range(len(self.weights))]

    @property
    def _is_unscaled(self) -> bool:
        return isinstance(self.loss_scale, float) and self.loss_scale == 1.0

    def _times_loss_scale(self, value: Tensor) -> Tensor:
        if self._is_unscaled:
            return value
        return value * ops.cast(self.loss_scale, value.dtype)

    def _unscaled(self, gradient: Tensor) -> Tensor:
        gradient = backend.densify(gradient)
        if self._is_unscaled:
            return gradient
        return gradient / ops.cast(self.loss_scale, gradient.dtype)


_ROUNDING = 1e-4
"""A fraction of a batch that is whole up to rounding stays whole."""


def _first_rows(seen: Seen, size: Tensor) -> Seen:
    return seen._replace(y_pred=take_at(seen.y_pred, ops.arange(size)))


def _poisoned(
    gradients: dict[int, Tensor], others: dict[int, Tensor]
) -> dict[int, Tensor]:
    """Make one gradient non-finite where any of the others is.

    An optimizer with dynamic loss scaling then skips the step.
    """
    zero = sum(ops.sum(ops.cast(g, "float32") * 0.0) for g in others.values())
    first, gradient = next(iter(gradients.items()))
    gradient = backend.densify(gradient)
    return {**gradients, first: gradient + ops.cast(zero, gradient.dtype)}


def _either(
    condition: Tensor,
    if_true: Callable[[], Outcome],
    if_false: Callable[[], Outcome],
) -> Outcome:
    """Return one of two outcomes, decided at run time.

    Both have gradients for the same variables; the missing ones do not pass
    through the conditional.
    """
    present: list[int] = []
    count = 0

    def without_missing(make: Callable[[], Outcome]) -> Any:
        nonlocal present, count
        outcome = make()
        count = len(outcome.gradients)
        present = [
            i for i, g in enumerate(outcome.gradients) if g is not None
        ]
        return (
            [outcome.gradients[i] for i in present],
            outcome.state,
            outcome.logs,
        )

    found, state, logs = ops.cond(
        condition,
        lambda: without_missing(if_true),
        lambda: without_missing(if_false),
    )
    gradients: Vector = [None] * count
    for i, gradient in zip(present, found):
        gradients[i] = gradient
    return Outcome(gradients, state, logs)
