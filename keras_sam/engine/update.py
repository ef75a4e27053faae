"""What a method subtracts from the weights past the optimizer."""

import keras
from keras import ops

from keras_sam.engine.two_passes import Gradients
from keras_sam.engine.two_passes import Outcome


def correction_of(optimizer: keras.Optimizer, outcome: Outcome) -> Gradients:
    """Return what to subtract once the optimizer has been applied.

    The learning rate is that of the step to come. With gradient accumulation
    each step carries its share.

    Args:
        optimizer: The optimizer, not yet applied.
        outcome: `Outcome`.

    Returns:
        One tensor for each variable that the method corrects.
    """
    if not outcome.correction:
        return {}
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    factor = inner.learning_rate / (inner.gradient_accumulation_steps or 1)
    return {
        i: ops.cast(factor, t.dtype) * t for i, t in outcome.correction.items()
    }
