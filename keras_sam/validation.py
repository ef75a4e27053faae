"""Checks of a model before it takes a step."""

from typing import Any

import keras


def check_trainable(model: keras.Model) -> None:
    """Check that there is something to train.

    Args:
        model: A built `SAMModel`.

    Raises:
        ValueError: If no weight is trainable.
    """
    if not model.trainable_variables:
        raise ValueError(
            "The model has no trainable weights, so that there is nothing to "
            "perturb. Set `trainable = True` on some of its layers, and "
            f"compile it again. Received: model={model!r}"
        )


def check_batch_size(model: Any, batch_size: Any) -> None:
    """Check that a batch can be split into micro-batches.

    The last batch of an epoch may be smaller than the others; so only a batch
    that is as large as any before is held against `num_microbatches`.

    Args:
        model: A `SAMModel`.
        batch_size: The number of examples. Passed over unless it is an integer
            that is known before the step is run.

    Raises:
        ValueError: If there are fewer examples than micro-batches.
    """
    if not isinstance(batch_size, int):
        return
    state = model._sam
    state.largest_batch = max(state.largest_batch, batch_size)
    if state.largest_batch < model.sam.num_microbatches:
        raise ValueError(
            "`num_microbatches` must not be larger than the batch. Received: "
            f"num_microbatches={model.sam.num_microbatches}, and a batch of "
            f"{batch_size}"
        )
