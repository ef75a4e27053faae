"""One step of a model: what it is made of, and what it reports."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine import roles
from keras_sam.engine.decision import SharpOrPlain
from keras_sam.engine.examples import check_lengths
from keras_sam.engine.loss import TrainingLoss
from keras_sam.engine.parts import OneAfterAnother
from keras_sam.engine.parts import Whole
from keras_sam.engine.results import Inspection
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
        roles.check_perturbed(model)
        settings, method = model.sam, model.sam.method
        # What is compiled as a whole: both passes of a part, or each of them
        # where replicas communicate between the passes.
        call_part = call_pass = compiled or _call
        if settings.perturbation == "global" or method.needs_statistic:
            call_part = _call
        else:
            call_pass = _call
        self._model = model
        is_divided = device_groups is not None or settings.has_parts
        self._batch = check_lengths(batch) if is_divided else batch
        self._call_pass = call_pass
        self._loss = TrainingLoss(model)
        self.state_variables = self._loss.state_variables
        self._positions = {
            id(variable): i for i, variable in enumerate(self.state_variables)
        }
        parts: Any = Whole()
        if settings.num_microbatches > 1:
            parts = OneAfterAnother(settings.num_microbatches)
        if device_groups is not None:
            parts = device_groups(parts, self.state_variables)
        weights = [variable.value for variable in self._loss.variables]
        self._constants = weights, backend.loss_scale(model.optimizer)
        self._sharp_or_plain = SharpOrPlain(
            settings,
            model.optimizer,
            self._batch,
            parts,
            self._two_passes,
            self._constants,
            call_part,
        )

    def run(self, state: list[Tensor]) -> StepResult:
        """Return the result of the step from `state`."""
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
        passes = self._two_passes(*self._constants, keep_gradients=True)
        _, found = passes(self._batch, state, self.method_state(state), rho)
        if passes.method.needs_gradients:
            return found
        clean = passes.clean_pass(self._batch, state, [])
        return found._replace(loss=clean.loss, rise=found.loss - clean.loss)

    def method_state(self, state: list[Tensor]) -> State:
        """Return what the method stores, out of the whole state."""
        return keras.tree.map_structure(
            lambda variable: state[self._positions[id(variable)]],
            self._model._sam.method_state,
        )

    @property
    def two_passes(self) -> TwoPasses:
        """Both passes over the batch as one part."""
        return self._two_passes(*self._constants)

    def _two_passes(
        self,
        weights: Vector,
        loss_scale: Tensor | None,
        keep_gradients: bool = False,
    ) -> TwoPasses:
        settings = self._model.sam
        ascent: dict[str, Any] = {}
        if settings.ascent_loss is not None:
            ascent["objective"] = self._loss.objectives.ascent
        if settings.method.holds_outputs:
            ascent["holds_outputs"] = True
        return TwoPasses(
            self._loss,
            settings.method,
            *roles.of_sam_model(self._model),
            weights,
            loss_scale,
            self._call_pass,
            ascent_fraction=settings.ascent_fraction,
            is_global=settings.perturbation == "global",
            keep_gradients=keep_gradients,
            ascent=ascent,
        )

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
        """Return the logs of the step, and the state with `sharpness`."""
        share = result.mean.is_sharp
        # The mean rise counts plain parts as 0: over the share of the others
        # it is the mean over these. If there are none, it is 0 over 1.
        rise = result.mean.rise / ops.where(share > 0, share, 1.0)
        logs, state = self._loss.update_sharpness(rise, share, state)
        return {**result.logs, **logs}, state


def _call(function: Callable[[], Any]) -> Any:
    return function()
