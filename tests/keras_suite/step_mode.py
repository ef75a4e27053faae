"""Every trainer of the process takes the step of `SAMModel`.

Tests of Keras train more than `keras.Model`: a `Sequential`, a `Distiller`, or
a layer with the trainer of the backend as a second base class. What they share
is that trainer. So the classes are turned around: here that of keras_sam stands
on the trainer of the backend, and `keras.Model` on that of keras_sam.
"""

import importlib

import keras

from keras_sam import SAMModel
from keras_sam import model_state
from keras_sam import trainers
from keras_sam.settings import Settings


def start(rho):
    """Let every model take sharp steps.

    Args:
        rho: The radius.
    """
    keras_trainer, *others = keras.Model.__bases__
    _, *own = reversed(trainers.Trainer.__bases__)
    trainers.Trainer.__bases__ = (*reversed(own), keras_trainer)

    class SharpTrainer(trainers.Trainer):
        """What `SAMModel` adds to the trainer, for a step alone."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            # Past Keras' own `__setattr__`: a `Layer` may not be one yet.
            vars(self)["_sam"] = model_state.SAMState(Settings(rho=rho))

        sam = SAMModel.sam
        build_method_state = SAMModel.build_method_state

        @property
        def metrics_variables(self):
            listed = super().metrics_variables
            if self.sam.is_plain:
                return listed  # Nothing writes those of `sharpness`.
            return listed + self._sam.tracker.variables

        def reset_metrics(self):
            super().reset_metrics()
            self._sam.tracker.reset_state()

    keras.Model.__bases__ = (SharpTrainer, *others)
    for name in (keras_trainer.__module__, keras.Model.__module__):
        _replace(importlib.import_module(name), keras_trainer, SharpTrainer)
    assert keras.Sequential.train_step is trainers.Trainer.train_step


def _replace(module, old, new):
    [name] = [name for name, value in vars(module).items() if value is old]
    setattr(module, name, new)
