"""One sharpness-aware step, and what it leaves behind."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine import parts as microbatches
from keras_sam.engine import roles as kinds
from keras_sam.engine.device_groups import ShardClimber
from keras_sam.engine.device_groups import ShardPasses
from keras_sam.engine.device_groups import Shards
from keras_sam.engine.loss import Passes
from keras_sam.engine.loss import Rows
from keras_sam.engine.loss import Seen
from keras_sam.engine.loss import set_masks
from keras_sam.engine.loss import take
from keras_sam.engine.loss import take_at
from keras_sam.engine.skipping import unless_skipped
from keras_sam.engine.two_passes import Climb
from keras_sam.engine.two_passes import Climber
from keras_sam.engine.two_passes import Gradients
from keras_sam.engine.two_passes import Look
from keras_sam.engine.two_passes import Outcome
from keras_sam.types import Batch
from keras_sam.types import State
from keras_sam.types import Tensor


class Step:
    """A step of `model` on `batch`. Reads variables, writes none.

    Args:
        model: A compiled, built `SAMModel`.
        batch: `Batch`.
        shards: The parts of the batch on groups of devices, each to be
            perturbed by its own gradient; `None` for one perturbation.
        compiled: Calls a function that reads no variables, has no conditional
            or loop, and that replicas run without talking to each other, and
            returns what it returns. `None` to call such functions like any
            other.
    """

    def __init__(
        self,
        model: keras.Model,
        batch: Batch,
        shards: Shards | None = None,
        compiled: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None:
        self.model = model
        self.settings = model.sam
        self.passes = Passes(model, batch)
        arguments = (
            [backend.read(v) for v in self.passes.trainable_variables],
            *kinds.of_sam_model(model),
            backend.loss_scale(model.optimizer),
        )
        self.climber = Climber(
            self.passes,
            self.settings.method,
            *arguments,
            self.settings.perturbation == "global",
        )
        self.sharp_climber = self.climber
        if shards is not None:
            self.sharp_climber = ShardClimber(
                ShardPasses(model, batch, shards),
                self.settings.method,
                *arguments,
            )
        self.method = model.sam.method
        self._optimizer = model.optimizer
        self._iterations = ops.convert_to_tensor(model.optimizer.iterations)
        self._rho = self.settings.rho_at(model.optimizer)
        self.call = compiled or _call
        is_global = self.settings.perturbation == "global"
        if is_global or self.method.has_own("statistic"):
            # Replicas talk between the passes, each of which is compiled.
            self.climber.call, self.call = self.call, _call
        self._memory = model._sam.memory
        self._positions = {
            id(variable): i
            for i, variable in enumerate(self.passes.state_variables)
        }

    def run(self, state: list[Tensor]) -> Outcome:
        """Return what the step does from `state`."""
        outcome = self._run(state)
        new = (self.method_state(outcome.state), outcome.correction)
        no_correction = keras.tree.map_structure(
            ops.zeros_like, outcome.correction
        )
        remembered, correction = unless_skipped(
            self._optimizer,
            outcome.gradients,
            backend.mean_over_replicas(new),
            (self.method_state(state), no_correction),
        )
        return outcome._replace(
            state=self.with_method_state(outcome.state, remembered),
            correction=correction,
        )

    def _run(self, state: list[Tensor]) -> Outcome:
        rho = self._rho
        if _is_always_zero(rho):
            return self.one_pass(state)
        is_active = self.method.is_due(self._iterations)
        if not isinstance(rho, float):
            is_active = ops.logical_and(rho > 0, is_active)
        return self.either(
            is_active,
            lambda: self._two_passes(state, rho),
            lambda: self.one_pass(state),
            self.method_state(state),
            rho,
        )

    def one_pass(self, state: list[Tensor]) -> Outcome:
        """Return what a plain step on the whole batch does."""

        def stay() -> Outcome:
            look = self.climber.look(state, None, self.climber.everything)
            return self._stay(look, self.method_state(state))

        return self.call(stay)

    def _stay(self, look: Look, remembered: State) -> Outcome:
        clean = self.climber.in_domain(look.gradients)
        logs, state = self.passes.report(
            look.seen, self.passes.batch, look.loss
        )
        following = self.method.next_state(clean, None, remembered)
        return Outcome(
            look.gradients,
            self._no_correction(clean),
            self.with_method_state(state, following),
            logs,
        )

    def _two_passes(self, state: list[Tensor], rho: Tensor) -> Outcome:
        if self.settings.num_microbatches > 1:
            return microbatches.run(self, state, rho)
        if self.method.has_own("statistic"):
            return self._two_passes_if_decided(state, rho)

        def climb() -> Outcome:
            leading = self._leading_of_batch()
            climb = self.sharp_climber.look_and_climb(
                state, self.method_state(state), rho, leading, None
            )
            return self.outcome_of(climb, leading)

        return self.call(climb)

    def probe(self, state: list[Tensor], rho: Tensor) -> Climb:
        """Do both passes on the batch as a whole, to look at them.

        Args:
            state: Values of `state_variables`.
            rho: Scalar > 0.

        Returns:
            `Climb`, its loss and rise those of the examples that the
            perturbation is computed from; exact for a method of one pass too.
        """
        weights = self.climber.weights
        self.climber.is_watched = True
        leading = self._leading_of_batch()
        climb = self.climber.look_and_climb(
            state, self.method_state(state), rho, leading, None
        )
        if not self.method.needs_gradients:
            loss, _ = self.passes.loss_at(weights, state)
            return climb._replace(loss=loss, rise=climb.loss - loss)
        if leading is None:
            return climb
        batch = take(self.passes.batch, leading)
        loss, _ = self.passes.loss(weights, climb.seen, batch)
        return climb._replace(loss=loss)

    def _two_passes_if_decided(
        self, state: list[Tensor], rho: Tensor
    ) -> Outcome:
        leading = self._leading_of_batch()
        climber = self.sharp_climber
        look = climber.look(state, leading, climber.everything)
        is_active, remembered = self.decide(
            climber.method.statistic(climber.in_domain(look.gradients)), state
        )

        def climb() -> Outcome:
            climb = climber.climb(look, state, remembered, rho, None)
            return self.outcome_of(climb, leading)

        def stay() -> Outcome:
            whole = climber.merged(look)
            if leading is not None:
                whole = self.climber.look(state, None, self.climber.everything)
            return self._stay(whole, remembered)

        return self.either(is_active, climb, stay, remembered, rho)

    def decide(
        self, statistic: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, State]:
        """Return whether there is a second pass, and what to remember."""
        return self.method.decide(
            backend.mean_over_replicas(statistic),
            self._iterations,
            self.method_state(state),
        )

    def _leading_of_batch(self) -> Rows | None:
        whole = Rows(0, self.sharp_climber.passes.batch_size, 1.0)
        leading = self.leading(whole)
        return None if leading is whole else leading

    def leading(self, rows: Rows) -> Rows:
        """Return the first `ascent_fraction` of some rows, at least one."""
        fraction = self.settings.ascent_fraction
        if fraction == 1 or not self.method.needs_gradients:
            return rows
        if isinstance(rows.size, int):
            size = math.ceil(fraction * rows.size - _ROUNDING)
        else:
            size = fraction * ops.cast(rows.size, "float32") - _ROUNDING
            size = ops.cast(ops.ceil(size), rows.size.dtype)
        gain = ops.cast(rows.size, "float32") / ops.cast(size, "float32")
        return Rows(rows.start, size, rows.gain * gain)

    def outcome_of(self, climb: Climb, rows: Rows | None) -> Outcome:
        """Return the outcome of one climb, the first pass over `rows`."""
        if rows is None:
            logs, state = self.passes.report(
                climb.seen, self.passes.batch, climb.loss, climb.rise
            )
        else:
            logs, state = self.report_of_rows(
                climb.seen,
                self.sharp_climber.passes.positions(
                    ops.expand_dims(ops.arange(rows.size), 0)
                ),
                climb.rise,
            )
        state = self.with_method_state(state, climb.method_state)
        return Outcome(climb.gradients, climb.correction, state, logs)

    def report_of_rows(
        self, seen: Seen, index: Tensor, rise: Tensor
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return logs and state where the first pass saw the rows at `index`.

        Their loss is evaluated once more, as that of a batch of their own,
        with the masks and the state that it then updates.
        """
        weights = self.climber.weights
        if self.passes.has_masks:
            masks = self.passes.masks(weights, seen.state)
            set_masks(seen.y_pred, take_at(masks, index))
        batch = take_at(self.passes.batch, index)
        loss, state = self.passes.loss(weights, seen, batch)
        return self.passes.report(seen._replace(state=state), batch, loss, rise)

    def method_state(self, state: list[Tensor]) -> State:
        """Return what the method remembers, out of the whole state."""
        return keras.tree.map_structure(
            lambda variable: state[self._positions[id(variable)]], self._memory
        )

    def with_method_state(
        self, state: list[Tensor], remembered: State
    ) -> list[Tensor]:
        """Return the whole state with what the method remembers replaced."""
        replaced = list(state)
        for variable, value in zip(
            keras.tree.flatten(self._memory), keras.tree.flatten(remembered)
        ):
            replaced[self._positions[id(variable)]] = ops.cast(
                value, variable.dtype
            )
        return replaced

    def either(
        self,
        is_active: Tensor | bool,
        climb: Callable[[], Outcome],
        stay: Callable[[], Outcome],
        remembered: State,
        rho: Tensor,
    ) -> Outcome:
        """Return the outcome of a step with or without a second pass.

        Args:
            is_active: Boolean scalar, whether there is a second pass.
            climb: Returns the outcome with one.
            stay: Returns that of a plain step.
            remembered: What the method reuses in place of a second pass.
            rho: Scalar, 0 for a step that is plain in any case.

        Returns:
            `Outcome`.
        """
        outcome = self._one_of(is_active, climb, stay)
        if is_active is True or not self.method.has_own("reuse"):
            return outcome
        stays = ops.logical_and(rho > 0, ops.logical_not(is_active))
        gradients = self._reused(stays, outcome.gradients, remembered)
        return outcome._replace(gradients=gradients)

    def _reused(
        self, stays: Tensor, gradients: Gradients, remembered: State
    ) -> Gradients:
        """Return what the method makes of gradients if a step `stays`.

        It sees their mean over replicas, which cannot talk in a conditional.
        """
        clean = backend.mean_over_replicas(self.climber.in_domain(gradients))
        positions = [i for i in self.climber.domain if i in gradients]

        def reuse() -> list[Tensor]:
            reused = self.method.reuse(clean, remembered)
            replaced = self.climber.from_domain(reused, gradients)
            return [replaced[i] for i in positions]

        chosen = backend.cond(
            stays, reuse, lambda: [gradients[i] for i in positions]
        )
        return {**gradients, **dict(zip(positions, chosen))}

    def _one_of(
        self,
        condition: Tensor | bool,
        if_true: Callable[[], Outcome],
        if_false: Callable[[], Outcome],
    ) -> Outcome:
        """Return one of two outcomes, decided at run time if need be.

        Both have gradients for the same variables. They are made dense where
        one of the outcomes may have them dense, and the other sparse.
        """
        if isinstance(condition, bool):
            return if_true() if condition else if_false()
        positions: list[list[int]] = []

        def flat(make: Callable[[], Outcome]) -> Any:
            outcome = make()
            positions[:] = [list(outcome.gradients), list(outcome.correction)]
            return (
                self._dense(outcome.gradients),
                list(outcome.correction.values()),
                outcome.state,
                outcome.logs,
            )

        gradients, correction, state, logs = backend.cond(
            condition, lambda: flat(if_true), lambda: flat(if_false)
        )
        return Outcome(
            dict(zip(positions[0], gradients)),
            dict(zip(positions[1], correction)),
            state,
            logs,
        )

    def _dense(self, gradients: Gradients) -> list[Tensor]:
        method = self.method
        dense: list[int] = []
        if method.has_own("combine") or method.has_own("reuse"):
            dense = self.climber.domain
        if self.settings.num_microbatches > 1:
            dense = self.climber.everything
        return [
            backend.densify(g) if i in dense else g
            for i, g in gradients.items()
        ]

    def _no_correction(self, clean: list[Tensor]) -> Gradients:
        if self.method.correct(clean, clean) is None:
            return {}
        return {
            i: ops.zeros_like(g) for i, g in zip(self.climber.domain, clean)
        }


def _call(function: Callable[[], Any]) -> Any:
    return function()


def _is_always_zero(rho: Tensor) -> bool:
    return isinstance(rho, float) and rho == 0.0


_ROUNDING = 1e-4
"""A fraction of a batch that is whole up to rounding stays whole."""
