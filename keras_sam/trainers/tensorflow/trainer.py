"""The train step under `tf.function`."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_sam.backend import keras_private
from keras_sam.backend.tensorflow.autodiff import read
from keras_sam.backend.tensorflow.raw_variables import refuse_raw_variables
from keras_sam.engine import loss as passes
from keras_sam.engine.step import Step
from keras_sam.engine.two_passes import Outcome
from keras_sam.engine.update import correction_of
from keras_sam.trainers.own_functions import OwnFunctions
from keras_sam.trainers.tensorflow import compilation
from keras_sam.trainers.tensorflow import replicas
from keras_sam.types import Batch
from keras_sam.types import Tensor
from keras_sam.validation import check_trainable


class Trainer(OwnFunctions, keras.Model):
    """Replaces the train step of `keras.Model`; `SAMModel` builds on it."""

    _sam: Any
    build_method_state: Callable[[], None]

    def make_train_function(self, force: bool = False) -> Any:
        """Return what runs a step, once the model has been checked."""
        refuse_raw_variables(self)
        replicas.refuse(self)
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
        self._build(data)
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        variables = passes.state_variables(self)
        state = [read(variable) for variable in variables]
        step = Step(self, batch, compiled=compilation.compiled(self))
        outcome = step.run(state)

        def write() -> None:
            for variable, old, new in zip(variables, state, outcome.state):
                if new is not old:
                    variable.assign(new)
            self._apply(outcome)

        compilation.call_on_variables(self, write)
        return replicas.logs(self, outcome.logs)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Return the logs of a step of `evaluate`."""
        return replicas.logs(self, super().test_step(data))

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        if iterator is not None and replicas.has_replicas(self):
            iterator, data_batch = None, replicas.local_batch(self, iterator)
        super()._maybe_symbolic_build(iterator, data_batch)

    def _build(self, data: Any) -> None:
        keras_private.build(self, data)
        check_trainable(self)
        with tf.init_scope():
            self.build_method_state()

    def _apply(self, outcome: Outcome) -> None:
        weights = self.trainable_variables
        gradients = [outcome.gradients.get(i) for i in range(len(weights))]
        correction = correction_of(self.optimizer, outcome)
        self.optimizer.apply_gradients(zip(gradients, weights))
        for i, step in correction.items():
            weights[i].assign_sub(step)
            if weights[i].constraint is not None:
                weights[i].assign(weights[i].constraint(weights[i]))
