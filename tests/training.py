"""Training a task of `cases.py`, and comparing two trainings."""

import keras
import numpy as np

import keras_sam
from tests import cases
from tests import in_place
from tests.arrays import assert_same
from tests.arrays import values

# The same formulas, but sums have another order in graph mode than
# eagerly: units in the last place of float32 (6e-8), which six steps let grow.
# 7e-7 is the largest observed.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def train(
    task,
    settings,
    data="arrays",
    optimizer=None,
    callbacks=list,
    **compile_arguments,
):
    """Build, compile and fit a model for two epochs; return it and the logs.

    Args:
        task: `Task`.
        settings: Arguments of `SAMModel`; `None` for a plain model.
        data: A key of `cases.DATA`.
        optimizer: Makes an optimizer.
        callbacks: Makes a list of callbacks.
        **compile_arguments: For `compile`.

    Returns:
        The model, and the history of the logs.
    """
    keras.utils.set_random_seed(1)
    model = task.build(settings)
    if optimizer:
        compile_arguments["optimizer"] = optimizer()
    compile_model(model, task, **compile_arguments)
    keras.utils.set_random_seed(2)
    history = model.fit(
        **cases.DATA[data](task.x, task.y),
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=callbacks(),
    )
    return model, history.history


def compile_model(model, task, **arguments):
    """Compile a model with the loss and metrics of a task."""
    metrics = task.metrics
    defaults = {
        "optimizer": keras.optimizers.SGD(0.1, momentum=0.9),
        "loss": task.loss,
        "metrics": list(metrics) if type(metrics) is tuple else metrics,
    }
    model.compile(**{**defaults, **arguments})


def state(model):
    """Return all state that training of the plain model changes."""
    own = []
    if isinstance(model, keras_sam.SAMModel):
        own = [*model._sam.variables, *model._sam.tracker.variables]
    own = {id(v) for v in own}
    variables = [
        *model.variables,
        *model.optimizer.variables,
        *model.metrics_variables,
    ]
    return values(v for v in variables if id(v) not in own)


def assert_equals_plain(task, method, **arguments):
    """Assert that with a radius of 0 a method is `keras.Model`."""
    plain, plain_logs = train(task, None, **arguments)
    settings = {**cases.METHODS[method], "rho": 0.0}
    sharp, logs = train(task, settings, **arguments)
    assert logs.pop("sharpness") == [0.0, 0.0]
    assert logs == plain_logs
    assert_same(state(sharp), state(plain))


def assert_equals_in_place(task, method, tolerance=None, **arguments):
    """Assert that a method is two passes on variables, and not just one."""
    rho = in_place.RHO[method]
    settings = {**cases.METHODS[method], "rho": rho}
    sharp, logs = train(task, settings, **arguments)
    arguments = {**arguments, "run_eagerly": True, "jit_compile": False}
    in_place_task = task._replace(
        build=lambda _: in_place.in_place(task.build(None), method, rho)
    )
    by_hand, by_hand_logs = train(in_place_task, None, **arguments)

    tolerance = tolerance or CLOSE
    for one, other in zip(weights(sharp), weights(by_hand), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)
    np.testing.assert_allclose(logs["loss"], by_hand_logs["loss"], **tolerance)
    assert min(logs["sharpness"]) > 0


def weights(model):
    """Return weights, statistics, seeds, and the optimizer's state."""
    variables = model.variables + model.optimizer.variables
    return [value.astype("float64") for value in values(variables)]
