"""The batch that a custom `train_step` passes on."""

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
    """Return the batch that a custom `train_step` gives to `SAMModel`'s.

    The custom step is called on the batch, up to the call of the step of
    `SAMModel`, if it has one. Afterwards all variables are restored.

    Args:
        model: A compiled, built `SAMModel`.
        batch: `Batch`.

    Returns:
        `Batch`.

    Raises:
        ValueError: If the model has a custom `train_step` that does not call
            the one of `SAMModel`.
    """
    if getattr(model.train_step, "__func__", None) is Trainer.train_step:
        return batch
    # Copies: on PyTorch, the value of a variable is changed in place.
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
    """Return all variables that a custom step may write."""
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
