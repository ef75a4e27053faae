"""The train step of eager PyTorch, which `torch.compile` takes too."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import keras
import torch

from keras_sam import backend
from keras_sam.backend.keras_private import has_unseeded_draws
from keras_sam.backend.torch.names import with_public_optimizers
from keras_sam.backend.torch.raw_parameters import check_raw_parameters
from keras_sam.engine import update
from keras_sam.engine.step import Step
from keras_sam.trainers.own_functions import OwnFunctions
from keras_sam.types import Batch
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.validation import is_weightless


class Trainer(OwnFunctions, keras.Model):
    """Replaces the train step of `keras.Model`; `SAMModel` builds on it."""

    _sam: Any
    build_method_state: Callable[[], None]

    def make_train_function(self, force: bool = False) -> Any:
        """Return what runs a step, once the model has been checked."""
        if not self.sam.is_plain:
            check_raw_parameters(self)
            self._make_method_state()
        return super().make_train_function(force)

    def get_compile_config(self) -> dict[str, Any]:
        """Return what the model was compiled with, for any backend."""
        return with_public_optimizers(super().get_compile_config())

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Return the logs of pass 1, after both passes and one update."""
        self._reach_step(data)
        if self.sam.is_plain or self._is_weightless(data):
            logs = super().train_step(data)
            tracker = self._sam.tracker
            return {**logs, tracker.name: tracker.result()}
        return self._sharp_step(data)

    def _is_weightless(self, data: Any) -> bool:
        """Return whether nothing is trainable; build what is missing."""
        # Once for each `compile`, which makes a new metric of the loss.
        made_for = backend.compile_config(self)
        if self._sam.built_for is not made_for:
            with torch.no_grad():
                backend.build(self, data)
                self._make_method_state()
            self._sam.built_for = made_for
        return self._sam.is_weightless

    def _make_method_state(self) -> None:
        self._sam.is_weightless = is_weightless(self)
        self._sam.draws_unseeded = has_unseeded_draws(self)
        if not self._sam.is_weightless:
            self.build_method_state()

    def _sharp_step(self, data: Any) -> dict[str, Tensor]:
        """Return the logs of a sharp step.

        PyTorch has one generator for all threads, which dropout without a seed
        draws from, and both passes set it to the same state. So of two threads
        with such dropout, one waits for the other's step.
        """
        is_alone = contextlib.nullcontext()
        if self._sam.draws_unseeded:
            is_alone = _DRAWING
        with is_alone, torch.no_grad():
            return self._both_passes(data)

    def _both_passes(self, data: Any) -> dict[str, Tensor]:
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        step = Step(self, batch)
        state = [backend.read(variable) for variable in step.state_variables]
        result = step.run(state)
        _write(step.state_variables, state, result.state)
        update.apply(self, result.gradients, result.correction)
        # A metric may return its variable, or the learning rate.
        return {**result.logs, **self.get_metrics_result()}


_DRAWING: Any = threading.RLock()
"""Held by the thread whose step may draw from PyTorch's own generators."""


def _write(variables: list[keras.Variable], old: Vector, new: Vector) -> None:
    """Write new values, none of which a write to another variable changes."""
    written = [
        (variable, value)
        for variable, before, value in zip(variables, old, new)
        if value is not before
    ]
    memory = {_address(value) for value in old}
    values = [
        value.clone() if _address(value) in memory else value
        for _, value in written
    ]
    for (variable, _), value in zip(written, values):
        variable.assign(value)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
