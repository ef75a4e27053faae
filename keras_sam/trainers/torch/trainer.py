"""The train step of eager PyTorch, which `torch.compile` takes too."""

from collections.abc import Callable
from typing import Any

import keras
import torch

from keras_sam.backend import keras_private
from keras_sam.backend.torch.autodiff import read
from keras_sam.backend.torch.names import with_public_optimizers
from keras_sam.backend.torch.raw_parameters import refuse_raw_parameters
from keras_sam.backend.torch.vectors import Room
from keras_sam.engine.step import Step
from keras_sam.engine.two_passes import Outcome
from keras_sam.engine.update import correction_of
from keras_sam.trainers.own_functions import OwnFunctions
from keras_sam.types import Batch
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.validation import check_trainable


class Trainer(OwnFunctions, keras.Model):
    """Replaces the train step of `keras.Model`; `SAMModel` builds on it."""

    _sam: Any
    build_method_state: Callable[[], None]

    def make_train_function(self, force: bool = False) -> Any:
        """Return what runs a step, once the model has been checked."""
        refuse_raw_parameters(self)
        check_trainable(self)
        self.build_method_state()
        return super().make_train_function(force)

    def get_compile_config(self) -> dict[str, Any]:
        """Return what the model was compiled with, for any backend."""
        return with_public_optimizers(super().get_compile_config())

    @torch.no_grad()
    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Return the logs of pass 1, after both passes and one update."""
        # Once for each `compile`, which makes a new metric of the loss.
        if self._sam.built_for is not self._loss_tracker:
            keras_private.build(self, data)
            self._sam.built_for = self._loss_tracker
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        step = Step(self, batch)
        if not torch.compiler.is_compiling():
            step.climber.add = self._room().add
        variables = step.passes.state_variables
        state = [read(variable) for variable in variables]
        outcome = step.run(state)
        _write(variables, state, outcome.state)
        self._apply(outcome)
        return outcome.logs

    def _room(self) -> Room:
        if self._sam.room is None:
            self._sam.room = Room()
        return self._sam.room

    def _apply(self, outcome: Outcome) -> None:
        weights = self.trainable_variables
        gradients = [outcome.gradients.get(i) for i in range(len(weights))]
        correction = correction_of(self.optimizer, outcome)
        self.optimizer.apply_gradients(zip(gradients, weights))
        for i, step in correction.items():
            weights[i].assign_sub(step)
            if weights[i].constraint is not None:
                weights[i].assign(weights[i].constraint(weights[i]))


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
