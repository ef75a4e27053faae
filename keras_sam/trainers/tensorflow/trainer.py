"""The train step under `tf.function`."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_sam import backend
from keras_sam.backend.tensorflow.autodiff import shadow
from keras_sam.backend.tensorflow.building import outside_of_traces
from keras_sam.backend.tensorflow.raw_variables import warn_of_raw_variables
from keras_sam.engine import update
from keras_sam.engine.step import Step
from keras_sam.trainers.own_functions import OwnFunctions
from keras_sam.trainers.tensorflow import compilation
from keras_sam.trainers.tensorflow import replicas
from keras_sam.types import Batch
from keras_sam.types import Tensor
from keras_sam.validation import is_weightless


class Trainer(OwnFunctions, keras.Model):
    """Replaces the train step of `keras.Model`; `SAMModel` builds on it."""

    _sam: Any
    build_method_state: Callable[[], None]

    def make_train_function(self, force: bool = False) -> Any:
        """Return what runs a step, once the model has been checked."""
        if not self.sam.is_plain:
            warn_of_raw_variables(self)
            replicas.refuse(self)
            if self.built and self.trainable_variables:
                with self.distribute_strategy.scope():
                    self._make_variables()
        if force or self.train_function is None:
            is_whole = compilation.is_train_step_whole(self)
            with compilation.compiled_only_if(is_whole, self):
                super().make_train_function(force=True)
            self.train_function = replicas.step_by_step(
                self, self.train_function
            )
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Return what runs a step of `evaluate`."""
        if force or self.test_function is None:
            is_whole = compilation.is_whole(self)
            with compilation.compiled_only_if(is_whole, self):
                super().make_test_function(force=True)
            self.test_function = replicas.step_by_step(self, self.test_function)
        return self.test_function

    def make_predict_function(self, force: bool = False) -> Any:
        """Return what runs a step of `predict`."""
        is_whole = compilation.is_whole(self)
        with compilation.compiled_only_if(is_whole, self):
            return super().make_predict_function(force)

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Return the logs of pass 1, after both passes and one update."""
        self._reach_step(data)
        if self.sam.is_plain or self._is_weightless(data):
            return replicas.logs(self, self._plain_step(data))
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        step = Step(self, batch, compiled=compilation.compiled(self))
        variables = step.state_variables
        state = [backend.read(variable) for variable in variables]
        result = step.run(state)

        def write() -> None:
            for variable, old, new in zip(variables, state, result.state):
                if new is not old:
                    variable.assign(new)
            update.apply(self, result.gradients, result.correction)

        compilation.call_on_variables(self, write)
        # A metric may return its variable, or the learning rate.
        logs = {**result.logs, **self.get_metrics_result()}
        return replicas.logs(self, logs)

    def _plain_step(self, data: Any) -> dict[str, Tensor]:
        logs = super().train_step(data)
        tracker = self._sam.tracker
        return {**logs, tracker.name: tracker.result()}

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Return the logs of a step of `evaluate`."""
        return replicas.logs(self, super().test_step(data))

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        if iterator is not None and replicas.has_replicas(self):
            iterator, data_batch = None, replicas.local_batch(self, iterator)
        super()._maybe_symbolic_build(iterator, data_batch)

    def _is_weightless(self, data: Any) -> bool:
        """Return whether nothing is trainable; build what is missing."""
        # Once for each `compile`, which makes a new metric of the loss.
        made_for = backend.compile_config(self)
        if self._sam.built_for is not made_for:
            backend.build(self, data)
            self._sam.built_for = made_for
        if is_weightless(self):
            return True
        if not tf.executing_eagerly():
            with outside_of_traces():
                self._make_variables()
        else:
            self.build_method_state()
        return False

    def _make_variables(self) -> None:
        self.build_method_state()
        backend.unlisted_state(self)
        for variable in self.trainable_variables:
            shadow(variable)
