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


def check_batch_size(model: Any, batch_size: int) -> None:
    """Check that the batches of `fit` can be split into micro-batches.

    A smaller one, the last of an epoch for example, is split into single
    examples.

    Args:
        model: A `SAMModel`.
        batch_size: The number of examples that `fit` is told to take.

    Raises:
        ValueError: If there are fewer examples than micro-batches.
    """
    if batch_size < model.sam.num_microbatches:
        raise ValueError(
            "`num_microbatches` must not be larger than the batch. Received: "
            f"num_microbatches={model.sam.num_microbatches}, and a batch of "
            f"{batch_size}"
        )
