"""Steps that dynamic loss scaling skips leave nothing behind."""

from typing import Any

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine.two_passes import Gradients


def unless_skipped(
    optimizer: keras.Optimizer, gradients: Gradients, new: Any, old: Any
) -> Any:
    """Return `new`, but `old` if the optimizer is going to skip the step.

    Args:
        optimizer: The optimizer. Only a `LossScaleOptimizer` skips steps.
        gradients: What it is given; it skips the step on all replicas if one
            of these is not finite on any.
        new: Nest of tensors.
        old: Nest of tensors of the same shapes.

    Returns:
        One of the two nests.
    """
    is_never = not isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if is_never or not keras.tree.flatten(new):
        return new
    are_finite = [
        ops.all(ops.isfinite(backend.densify(g))) for g in gradients.values()
    ]
    share = backend.mean_over_replicas(
        ops.cast(ops.all(ops.stack(are_finite)), "float32")
    )
    return keras.tree.map_structure(
        lambda a, b: ops.where(share == 1, a, b), new, old
    )
