"""Sharp or plain: whether a step does a second pass.

Three things decide: the radius, which a schedule may leave at 0; the iteration,
for a method that perturbs at some steps only; and a statistic of the gradients
at w. What is known while a step is traced decides there, so that a constant
radius costs no conditional; the rest decides at run time.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine.examples import leading_examples
from keras_sam.engine.parts import PartFunction
from keras_sam.engine.parts import Whole
from keras_sam.engine.results import Mean
from keras_sam.engine.results import PartResult
from keras_sam.engine.two_passes import TwoPasses
from keras_sam.types import Batch
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


class SharpOrPlain:
    """A step of either kind.

    Args:
        settings: `Settings` of the model.
        optimizer: Its optimizer, for the radius and the iteration.
        batch: `Batch`.
        parts: How the parts of the batch are averaged.
        make_passes: Returns the `TwoPasses` at weights with a loss scale.
        constants: Weights and loss scale. Groups of devices take them as
            arguments, so that each has passes of its own.
        call: Calls a function that does the passes over a part.
    """

    def __init__(
        self,
        settings: Any,
        optimizer: keras.Optimizer,
        batch: Batch,
        parts: Any,
        make_passes: Callable[..., TwoPasses],
        constants: tuple[Vector, Tensor | None],
        call: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._method = settings.method
        self._ascent_fraction = settings.ascent_fraction
        self._rho = settings.rho_at(optimizer)
        self._iterations = ops.convert_to_tensor(optimizer.iterations)
        self._batch = batch
        self._parts = parts
        self._make_passes = make_passes
        self._constants = constants
        self._passes = make_passes(*constants)
        self._call = call
        # Both results of a conditional have gradients of one kind; a sum over
        # parts, and what a method combines, is dense.
        self._is_dense = (
            self._method.combines
            or self._method.reuses
            or settings.num_microbatches > 1
        )

    def __call__(self, state: list[Tensor], method_state: State) -> PartResult:
        """Return the result of the step.

        Args:
            state: Values of the state variables.
            method_state: What the method stores.
        """
        method, rho = self._method, self._rho
        is_sharp: Tensor = isinstance(rho, float) or rho > 0
        if method.decides and not method.needs_statistic:
            is_due, method_state = method.decide(
                self._iterations, None, method_state
            )
            is_sharp = _both(is_sharp, is_due)
        sharp = self._sharp
        if method.needs_statistic:
            sharp = self._decided_by_gradients
        result = _one_of(
            is_sharp,
            lambda: sharp(state, method_state),
            lambda: self._plain(state, method_state),
        )
        if is_sharp is True or not method.reuses:
            return result
        is_reused = ops.logical_and(rho > 0, ops.logical_not(is_sharp))
        return self._reused(is_reused, result, method_state)

    def _plain(self, state: list[Tensor], method_state: State) -> PartResult:
        """Return the result of one pass over the whole batch."""
        return self._dense(
            self._call(
                lambda: self._passes.plain(self._batch, state, method_state)
            )
        )

    def _sharp(self, state: list[Tensor], method_state: State) -> PartResult:
        """Return the mean over the parts of the batch of both passes."""

        def part(
            batch: Batch, state: list[Tensor], constants: Any
        ) -> PartResult:
            *arguments, method_state, rho = constants
            passes = self._make_passes(*arguments)
            return self._dense(
                self._call(lambda: passes(batch, state, method_state, rho)[0])
            )

        return self._mean(part, state, method_state, self._rho)

    def _decided_by_gradients(
        self, state: list[Tensor], method_state: State
    ) -> PartResult:
        """Return a sharp or a plain step, as the gradients at w decide."""
        if isinstance(self._parts, Whole):
            return self._decided_in_passing(state, method_state)
        is_sharp, method_state = self._decide(
            self._mean_statistic(state), method_state
        )
        return _one_of(
            is_sharp,
            lambda: self._sharp(state, method_state),
            lambda: self._plain(state, method_state),
        )

    def _decided_in_passing(
        self, state: list[Tensor], method_state: State
    ) -> PartResult:
        """Return the same for a batch that is one part.

        The pass that decides is then the clean pass of either step, unless it
        was over the leading examples and the step is plain.
        """
        passes = self._passes
        leading = leading_examples(self._batch, self._ascent_fraction)
        clean = passes.ascent_pass(
            leading or self._batch, state, passes.all_positions
        )
        is_sharp, method_state = self._decide(
            self._method.statistic(passes.view.for_method(clean.gradients)),
            method_state,
        )

        def sharp() -> PartResult:
            return passes(self._batch, state, method_state, self._rho, clean)[0]

        def plain() -> PartResult:
            if leading is not None:
                return self._plain(state, method_state)
            return passes.plain_result(clean, method_state)

        return _one_of(
            is_sharp,
            lambda: self._dense(sharp()),
            lambda: self._dense(plain()),
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

        def part(
            batch: Batch, state: list[Tensor], constants: Any
        ) -> PartResult:
            passes = self._make_passes(*constants)
            clean = passes.clean_pass(
                leading_examples(batch, self._ascent_fraction) or batch,
                state,
                passes.view.seen,
            )
            statistic = self._method.statistic(
                passes.view.for_method(clean.gradients)
            )
            zero = ops.zeros((), "float32")
            return PartResult(
                Mean([], [], {"statistic": statistic}, zero, zero),
                clean.state,
                clean.auxiliary,
            )

        return self._mean(part, state).mean.method_state["statistic"]

    def _mean(
        self, function: PartFunction, state: list[Tensor], *constants: Any
    ) -> PartResult:
        constants = (*self._constants, *constants)
        return self._parts.mean(function, self._batch, state, constants)

    def _reused(
        self, is_reused: Tensor, result: PartResult, method_state: State
    ) -> PartResult:
        """Return a plain step with the gradients that the method makes of it.

        It sees their mean over replicas, which cannot communicate in a
        conditional.
        """
        view, gradients = self._passes.view, result.mean.gradients
        clean = backend.mean_over_replicas(view.for_method(gradients))
        gradients = backend.cond(
            is_reused,
            lambda: view.for_optimizer(
                self._method.reuse(clean, method_state), gradients
            ),
            lambda: gradients,
        )
        return result._replace(mean=result.mean._replace(gradients=gradients))

    def _dense(self, result: PartResult) -> PartResult:
        """Return the result, its gradients of one kind in both branches."""
        if not self._is_dense:
            return result
        gradients = self._passes.view.dense(result.mean.gradients)
        return result._replace(mean=result.mean._replace(gradients=gradients))


def _both(first: Tensor, second: Tensor) -> Tensor:
    if first is True:
        return second
    return first if second is True else ops.logical_and(first, second)


def _one_of(
    condition: Tensor,
    sharp: Callable[[], PartResult],
    plain: Callable[[], PartResult],
) -> PartResult:
    """Return one of two results, decided at run time if need be."""
    if isinstance(condition, bool):
        return sharp() if condition else plain()
    return backend.cond(condition, sharp, plain)
