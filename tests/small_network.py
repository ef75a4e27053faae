"""Networks with the gradients of `reference/problems.py`, and their data."""

from typing import Any
from typing import NamedTuple

import keras
import numpy as np

import keras_sam
from tests import frameworks
from tests.arrays import assert_same as assert_same
from tests.arrays import flat
from tests.arrays import values as values
from tests.methods.table import ROWS
from tests.reference import problems
from tests.reference.training import train

NUM_FEATURES = 3
NUM_HIDDEN = 4
BATCH_SIZE = 5
NUM_EXAMPLES = 15
EPOCHS = 2
LEARNING_RATE = 0.1

GRAPH = frameworks.GRAPH
JIT = frameworks.JIT
EAGER = {"run_eagerly": True}


class Network(NamedTuple):
    """A problem of the reference in layers of Keras, which are `Dense`."""

    problem: problems.Problem
    layers: tuple[dict[str, Any], ...]
    loss: Any = "mse"


_OUTPUT = {"units": 1, "name": "output"}
_HIDDEN = {"units": NUM_HIDDEN, "activation": "tanh", "name": "hidden"}
NETWORKS = {
    "linear_regression": Network(
        problems.linear_regression(NUM_FEATURES), (_OUTPUT,)
    ),
    "logistic_regression": Network(
        problems.logistic_regression(NUM_FEATURES),
        (_OUTPUT,),
        keras.losses.BinaryCrossentropy(from_logits=True),
    ),
    "tanh_network": Network(
        problems.tanh_network(NUM_FEATURES, NUM_HIDDEN), (_HIDDEN, _OUTPUT)
    ),
}
PROBLEM = NETWORKS["tanh_network"].problem


def network(
    make=keras_sam.SAMModel,
    kind="tanh_network",
    dense=keras.layers.Dense,
    **settings,
):
    """Return the model, always with the same weights."""
    outputs = inputs = keras.Input((NUM_FEATURES,))
    for layer in NETWORKS[kind].layers:
        outputs = dense(**layer)(outputs)
    model = make(inputs, outputs, **settings)
    generator = np.random.default_rng(2)
    model.set_weights([generator.normal(size=w.shape) for w in model.weights])
    return model


def compiled(mode=EAGER, momentum=0.0, optimizer=None, **settings):
    """Return the model, compiled with SGD by default."""
    model = network(**settings)
    optimizer = optimizer or keras.optimizers.SGD(LEARNING_RATE, momentum)
    loss = NETWORKS[settings.get("kind", "tanh_network")].loss
    model.compile(optimizer, loss, **mode)
    return model


def of_method(name, mode=EAGER, momentum=0.9, **arguments):
    """Return the model, compiled with a row of the table of methods."""
    row = ROWS[name]
    settings = {"method": row.method, "rho": row.rho, **arguments}
    return compiled(mode, momentum, **settings)


def examples(number=NUM_EXAMPLES):
    """Return x, y and sample weights."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(number, NUM_FEATURES)).astype("float32")
    y = generator.integers(0, 2, size=(number, 1)).astype("float32")
    sample_weight = generator.uniform(0.5, 1.5, number).astype("float32")
    return x, y, sample_weight


def batches(number=NUM_EXAMPLES, batch_size=BATCH_SIZE):
    """Return the batches of `fit`, for the reference."""
    x, y, sample_weight = (a.astype("float64") for a in examples(number))
    rows = [slice(i, i + batch_size) for i in range(0, number, batch_size)]
    return [(x[i], y[i, 0], sample_weight[i]) for i in rows]


class Recorder(keras.callbacks.Callback):
    """Stores weights and logs after every batch."""

    def __init__(self):
        super().__init__()
        self.weights = []
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(flat(self.model.get_weights()))
        self.logs.append(dict(logs))


def fit(
    model,
    epochs=1,
    number=NUM_EXAMPLES,
    batch_size=BATCH_SIZE,
    **arguments,
):
    """Fit the model on the examples in order; return a `Recorder`."""
    x, y, sample_weight = examples(number)
    recorder = Recorder()
    model.fit(
        x,
        y,
        sample_weight=sample_weight,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[recorder, *arguments.pop("callbacks", [])],
        **arguments,
    )
    return recorder


# Relative to the largest number compared. Each step adds to a weight what
# comes from a chain of about thirty operations, each off by up to half of
# `eps` of the dtype, and six steps add up.
NUM_ROUNDINGS = 6 * 30


def assert_close(actual, expected, dtype="float32"):
    tolerance = NUM_ROUNDINGS * np.finfo(dtype).eps / 2
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * np.max(np.abs(expected))
    )


def reference_steps(
    model,
    formula,
    rho,
    number=NUM_EXAMPLES,
    problem=PROBLEM,
    batch_size=BATCH_SIZE,
    **arguments,
):
    """Return the steps of `EPOCHS` epochs in NumPy, from the same weights."""
    return train(
        problem,
        formula,
        flat(model.get_weights()),
        EPOCHS * batches(number, batch_size),
        rho,
        **{"learning_rate": LEARNING_RATE, **arguments},
    )


def assert_same_training(model, steps, number=NUM_EXAMPLES, **arguments):
    """Compare weights, loss and sharpness after each step of `fit`."""
    recorder = fit(model, EPOCHS, number, **arguments)
    assert_same_steps(recorder.weights, recorder.logs, steps)


def assert_same_steps(weights, logs, steps):
    """Compare what a `Recorder` stored with the steps of the reference."""
    dtype = frameworks.accuracy(keras.config.floatx())
    assert_close(weights, [step.weight for step in steps], dtype)
    loss, sharpness = running_means(steps)
    assert_close([step["loss"] for step in logs], loss)
    # It is the difference of two losses, and has their rounding.
    found = np.array([step["sharpness"] for step in logs])
    assert_close(found + loss, sharpness + loss)


def running_means(steps):
    """Return the logs of `fit` after each step: means since the epoch began.

    Of the loss over examples, of the sharpness over steps with a second pass.
    """
    losses, rises = [], []
    length = len(steps) // EPOCHS
    for i, _ in enumerate(steps):
        since = steps[i - i % length : i + 1]
        perturbed = [s.sharpness for s in since if s.sharpness is not None]
        sizes = [s.num_seen for s in since]
        losses.append(np.average([s.loss for s in since], weights=sizes))
        rises.append(np.mean(perturbed) if perturbed else 0.0)
    return np.array(losses), np.array(rises)
