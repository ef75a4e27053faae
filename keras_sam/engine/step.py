"""One step: sharp or plain, and what it reports."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine import roles
from keras_sam.engine.examples import check_lengths
from keras_sam.engine.examples import leading_examples
from keras_sam.engine.loss import TrainingLoss
from keras_sam.engine.parts import OneAfterAnother
from keras_sam.engine.parts import PartFunction
from keras_sam.engine.parts import Whole
from keras_sam.engine.results import Inspection
from keras_sam.engine.results import Mean
from keras_sam.engine.results import PartResult
from keras_sam.engine.results import StepResult
from keras_sam.engine.two_passes import TwoPasses
from keras_sam.engine.update import unless_skipped
from keras_sam.types import Batch
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


class Step:
    """A step of `model` on `batch`. Reads variables, writes none.

    Args:
        model: A compiled, built `SAMModel`.
        batch: `Batch`.
        device_groups: Takes the way in which the parts of a group's examples
            are averaged and the variables that the state is of, and returns
            that of the whole batch; `None` for one group.
        compiled: Calls a function that has no conditional or loop, and in
            which replicas do not communicate, and returns what it returns.
            `None` to call such functions like any other.
    """

    def __init__(
        self,
        model: keras.Model,
        batch: Batch,
        device_groups: Callable[[Any, Any], Any] | None = None,
        compiled: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None:
        self._model = model
        self._settings = model.sam
        self._method = model.sam.method
        call = compiled or _call
        self._call = call
        is_global = self._settings.perturbation == "global"
        if is_global or self._method.needs_statistic:
            # Replicas communicate between the passes, each of them compiled.
            self._call = _call
        else:
            call = _call
        self._loss = TrainingLoss(model)
        self.state_variables = self._loss.state_variables
        self._weights = [v.value for v in self._loss.variables]
        self._loss_scale = backend.loss_scale(model.optimizer)
        self._pass_call = call
        roles.check_perturbed(model)
        self.two_passes = self._two_passes(self._weights, self._loss_scale)
        is_divided = device_groups is not None or self._settings.has_parts
        self._batch = check_lengths(batch) if is_divided else batch
        self._parts: Any = Whole()
        if self._settings.num_microbatches > 1:
            self._parts = OneAfterAnother(self._settings.num_microbatches)
        if device_groups is not None:
            self._parts = device_groups(self._parts, self.state_variables)
        self._rho = self._settings.rho_at(model.optimizer)
        self._iterations = ops.convert_to_tensor(model.optimizer.iterations)
        self._positions = {
            id(variable): i for i, variable in enumerate(self.state_variables)
        }

    def run(self, state: list[Tensor]) -> StepResult:
        """Return what the step does from `state`."""
        before = self.method_state(state)
        result = self._sharp_or_plain(state, before)
        mean = result.mean
        after, correction = unless_skipped(
            self._model.optimizer,
            mean.gradients,
            backend.mean_over_replicas((mean.method_state, mean.correction)),
            before,
        )
        state = self._with_method_state(result.state, after)
        logs, state = self._report(result, state)
        return StepResult(mean.gradients, correction, state, logs)

    def inspect(self, state: list[Tensor], rho: Tensor) -> Inspection:
        """Do both passes on the batch as one part.

        Args:
            state: Values of `state_variables`.
            rho: Scalar > 0.

        Returns:
            `Inspection`, exact for a method of one pass too.
        """
        two_passes = self._two_passes(
            self._weights, self._loss_scale, keep_gradients=True
        )
        _, found = two_passes(self._batch, state, self.method_state(state), rho)
        if self._method.needs_gradients:
            return found
        clean = two_passes.clean_pass(self._batch, state, [])
        return found._replace(loss=clean.loss, rise=found.loss - clean.loss)

    def _two_passes(
        self,
        weights: Vector,
        loss_scale: Tensor | None,
        keep_gradients: bool = False,
    ) -> TwoPasses:
        return TwoPasses(
            self._loss,
            self._method,
            *roles.of_sam_model(self._model),
            weights,
            loss_scale,
            self._settings.ascent_fraction,
            self._settings.perturbation == "global",
            self._pass_call,
            keep_gradients,
        )

    def method_state(self, state: list[Tensor]) -> State:
        """Return what the method stores, out of the whole state."""
        return keras.tree.map_structure(
            lambda variable: state[self._positions[id(variable)]],
            self._model._sam.method_state,
        )

    def _sharp_or_plain(
        self, state: list[Tensor], method_state: State
    ) -> PartResult:
        method, rho = self._method, self._rho
        is_sharp: Tensor = isinstance(rho, float) or rho > 0
        if method.decides and not method.needs_statistic:
            is_due, method_state = method.decide(
                self._iterations, None, method_state
            )
            is_sharp = _both(is_sharp, is_due)
        sharp = self._sharp
        if method.needs_statistic:
            sharp = self._sharp_if_decided
        result = self._one_of(
            is_sharp,
            lambda: sharp(state, method_state),
            lambda: self._plain(state, method_state),
        )
        if is_sharp is True or not method.reuses:
            return result
        is_reused = ops.logical_and(rho > 0, ops.logical_not(is_sharp))
        return self._reused(is_reused, result, method_state)

    def _sharp(self, state: list[Tensor], method_state: State) -> PartResult:
        """Return the mean over the parts of the batch of both passes."""

        def part(
            batch: Batch, state: list[Tensor], constants: Any
        ) -> PartResult:
            *arguments, method_state, rho = constants
            two_passes = self._two_passes(*arguments)
            return self._dense(
                self._call(
                    lambda: two_passes(batch, state, method_state, rho)[0]
                )
            )

        return self._mean_over_parts(part, state, method_state, self._rho)

    def _mean_over_parts(
        self, function: PartFunction, state: list[Tensor], *constants: Any
    ) -> PartResult:
        constants = (self._weights, self._loss_scale, *constants)
        return self._parts.mean(function, self._batch, state, constants)

    def _plain(self, state: list[Tensor], method_state: State) -> PartResult:
        """Return what one pass over the whole batch gives."""
        return self._dense(
            self._call(
                lambda: self.two_passes.plain(self._batch, state, method_state)
            )
        )

    def _sharp_if_decided(
        self, state: list[Tensor], method_state: State
    ) -> PartResult:
        """Return a sharp or a plain step, as the gradients at w decide.

        A batch that is one part needs no pass for the decision alone.
        """
        two_passes = self.two_passes
        fraction = self._settings.ascent_fraction
        is_whole = isinstance(self._parts, Whole)
        if not is_whole:
            is_sharp, method_state = self._decide(
                self._mean_statistic(state), method_state
            )
            return self._one_of(
                is_sharp,
                lambda: self._sharp(state, method_state),
                lambda: self._plain(state, method_state),
            )
        leading = leading_examples(self._batch, fraction)
        clean = two_passes.clean_pass(
            leading or self._batch, state, two_passes.everything
        )
        is_sharp, method_state = self._decide(
            self._method.statistic(two_passes.view.for_method(clean.gradients)),
            method_state,
        )

        def plain() -> PartResult:
            if leading is not None:
                return self._plain(state, method_state)
            return self._dense(two_passes.plain_result(clean, method_state))

        return self._one_of(
            is_sharp,
            lambda: self._dense(
                two_passes(self._batch, state, method_state, self._rho, clean)[
                    0
                ]
            ),
            plain,
        )

    def _decide(
        self, statistic: Tensor, method_state: State
    ) -> tuple[Tensor, State]:
        """Return whether there is a second pass, and the method's state.

        A statistic that is not finite decides for a plain step and leaves no
        trace.
        """
        statistic = backend.mean_over_replicas(statistic)
        is_sharp, following = self._method.decide(
            self._iterations, statistic, method_state
        )
        is_finite = ops.isfinite(statistic)
        return (
            ops.logical_and(is_sharp, is_finite),
            backend.select(is_finite, lambda: following, lambda: method_state),
        )

    def _mean_statistic(self, state: list[Tensor]) -> Tensor:
        """Return the mean over the parts, of a pass that leaves nothing."""
        fraction = self._settings.ascent_fraction

        def part(
            batch: Batch, state: list[Tensor], constants: Any
        ) -> PartResult:
            two_passes = self._two_passes(*constants)
            clean = two_passes.clean_pass(
                leading_examples(batch, fraction) or batch,
                state,
                two_passes.view.seen,
            )
            statistic = self._method.statistic(
                two_passes.view.for_method(clean.gradients)
            )
            zero = ops.zeros((), "float32")
            return PartResult(
                Mean([], [], {"statistic": statistic}, zero, zero),
                clean.state,
                clean.auxiliary,
            )

        mean = self._mean_over_parts(part, state).mean
        return mean.method_state["statistic"]

    def _reused(
        self, is_reused: Tensor, result: PartResult, method_state: State
    ) -> PartResult:
        """Return what the method makes of the gradients of a plain step.

        It sees their mean over replicas, which cannot communicate in a
        conditional.
        """
        gradients = result.mean.gradients
        clean = backend.mean_over_replicas(
            self.two_passes.view.for_method(gradients)
        )
        gradients = backend.cond(
            is_reused,
            lambda: self.two_passes.view.for_optimizer(
                self._method.reuse(clean, method_state), gradients
            ),
            lambda: gradients,
        )
        return result._replace(mean=result.mean._replace(gradients=gradients))

    def _one_of(
        self,
        condition: Tensor,
        sharp: Callable[[], PartResult],
        plain: Callable[[], PartResult],
    ) -> PartResult:
        """Return one of two results, decided at run time if need be."""
        if isinstance(condition, bool):
            return sharp() if condition else plain()
        return backend.cond(condition, sharp, plain)

    def _dense(self, result: PartResult) -> PartResult:
        """Return a result whose gradients are the same kind in each branch."""
        method = self._method
        if not (
            method.combines
            or method.reuses
            or self._settings.num_microbatches > 1
        ):
            return result
        gradients = self.two_passes.view.dense(result.mean.gradients)
        return result._replace(mean=result.mean._replace(gradients=gradients))

    def _with_method_state(
        self, state: list[Tensor], method_state: State
    ) -> list[Tensor]:
        replaced = list(state)
        for variable, value in zip(
            keras.tree.flatten(self._model._sam.method_state),
            keras.tree.flatten(method_state),
        ):
            replaced[self._positions[id(variable)]] = ops.cast(
                value, variable.dtype
            )
        return replaced

    def _report(
        self, result: PartResult, state: list[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the logs of the step, and the state with `sharpness`.

        Metrics are read anew, after the last part.
        """
        share = result.mean.is_sharp
        rise = result.mean.rise / ops.where(share > 0, share, 1.0)
        logs, state = self._loss.update_sharpness(rise, share, state)
        return {**result.logs, **logs}, state


def _both(first: Tensor, second: Tensor) -> Tensor:
    if first is True:
        return second
    return first if second is True else ops.logical_and(first, second)


def _call(function: Callable[[], Any]) -> Any:
    return function()
