"""What a step writes past the optimizer, and when it writes nothing."""

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine.gradients import zeros_like
from keras_sam.types import Gradients
from keras_sam.types import State


def unless_skipped(
    optimizer: keras.Optimizer,
    gradients: Gradients,
    new: tuple[State, Gradients],
    state: State,
) -> tuple[State, Gradients]:
    """Return what a step leaves, or nothing if the optimizer will skip it.

    Args:
        optimizer: The optimizer. Only a `LossScaleOptimizer` skips steps.
        gradients: What it is given; it skips the step on all replicas if one
            of these is not finite on any.
        new: The method's next state, and the correction.
        state: The method's state before the step.

    Returns:
        The method's state and the correction.
    """
    is_never = not isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if is_never or not keras.tree.flatten(new):
        return new
    are_finite = [
        ops.all(ops.isfinite(backend.stored_values(g)))
        for g in gradients
        if g is not None
    ]
    if not are_finite:
        return new  # It says so itself.
    share = backend.mean_over_replicas(
        ops.cast(ops.all(ops.stack(are_finite)), "float32")
    )
    return backend.select(
        share == 1, lambda: new, lambda: (state, zeros_like(new[1]))
    )


def scaled_correction(model: keras.Model, correction: Gradients) -> Gradients:
    """Return what to subtract once the optimizer has been applied.

    The learning rate is that of the step to come, and of the optimizer that a
    variable has if there are several. With gradient accumulation each step
    carries its share.

    Args:
        model: The model, its optimizer built and not yet applied.
        correction: `StepResult.correction`.
    """
    if not correction:
        return []
    optimizers = [
        backend.optimizer_of(model.optimizer, variable)
        for variable in model.trainable_variables
    ]
    factors = {
        id(one): one.learning_rate / (one.gradient_accumulation_steps or 1)
        for one in optimizers
    }
    return [
        None if t is None else ops.cast(factors[id(one)], t.dtype) * t
        for t, one in zip(correction, optimizers)
    ]


def apply(
    model: keras.Model, gradients: Gradients, correction: Gradients
) -> None:
    """Let the optimizer update the weights, then subtract the correction."""
    weights = model.trainable_variables
    steps = scaled_correction(model, correction)
    model.optimizer.apply_gradients(zip(gradients, weights))
    for variable, step in zip(weights, steps):
        if step is not None:
            variable.assign_sub(step)
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
