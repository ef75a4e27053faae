"""The train step under `tf.function`."""

from typing import Any

import keras

from keras_sam import passes
from keras_sam.backend import keras_private
from keras_sam.backend.tensorflow.autodiff import read
from keras_sam.backend.tensorflow.raw_variables import refuse_raw_variables
from keras_sam.step import Step
from keras_sam.types import Batch
from keras_sam.types import Tensor


class Trainer:
    """Replaces the train step of `keras.Model`; `SAMModel` mixes it in."""

    def make_train_function(self, force: bool = False) -> Any:
        """Check the model before the first step is traced."""
        refuse_raw_variables(self)
        return super().make_train_function(force)

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Train on one batch: both passes, one update, the logs of pass 1."""
        keras_private.build(self, data)
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        variables = passes.state_variables(self)
        state = [read(variable) for variable in variables]
        outcome = Step(self, batch).run(state)
        for variable, old, new in zip(variables, state, outcome.state):
            if new is not old:
                variable.assign(new)
        self.optimizer.apply_gradients(
            zip(outcome.gradients, self.trainable_variables)
        )
        return outcome.logs
