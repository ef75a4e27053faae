"""What becomes of a batch in a `train_step` of the user's own."""

import copy
from typing import Any

import keras

from keras_sam import backend
from keras_sam.engine.loss import state_variables
from keras_sam.trainers import Trainer
from keras_sam.trainers.own_functions import ADVICE
from keras_sam.trainers.own_functions import StepReached
from keras_sam.types import Batch


def passed_on(model: Any, batch: Batch) -> Batch:
    """Return what the step of `SAMModel` is given in a step on a batch.

    Whether it is called shows only when the user's step is. That one then
    stops there, or was a plain one; either way all variables are set back.

    Args:
        model: A compiled, built `SAMModel`.
        batch: `Batch`.

    Returns:
        `Batch`.

    Raises:
        ValueError: If the model has a `train_step` of its own that does not
            call the one of `SAMModel`.
    """
    if getattr(model.train_step, "__func__", None) is Trainer.train_step:
        return batch
    before = [(v, copy.deepcopy(backend.read(v))) for v in _written(model)]
    model._sam.is_step_probed = True
    try:
        model._call_train_step(keras.utils.pack_x_y_sample_weight(*batch))
    except StepReached as reached:
        return Batch(*keras.utils.unpack_x_y_sample_weight(reached.data))
    finally:
        model._sam.is_step_probed = False
        for variable, value in before:
            variable.assign(value)
    raise ValueError(
        "SAM has no effect: the model has a `train_step` of its own that does "
        f"not call the one of `SAMModel`. {ADVICE} Received: model={model!r}"
    )


def _written(model: Any) -> list[keras.Variable]:
    """Return what a step may write, several optimizers' state included."""
    return [
        *model.trainable_variables,
        *state_variables(model),
        *(
            variable
            for attribute in vars(model).values()
            if isinstance(attribute, keras.Optimizer)
            for variable in attribute.variables
        ),
    ]
