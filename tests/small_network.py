"""A network of which `reference.py` knows the gradient, and data for it."""

import keras
import numpy as np

import keras_sam
from tests import frameworks
from tests import reference

NUM_FEATURES = 3
NUM_HIDDEN = 4
BATCH_SIZE = 5
NUM_EXAMPLES = 15
LEARNING_RATE = 0.1

PROBLEM = reference.tanh_network(NUM_FEATURES, NUM_HIDDEN)

GRAPH = frameworks.GRAPH
JIT = frameworks.JIT
EAGER = {"run_eagerly": True}


def network(make=keras_sam.SAMModel, **settings):
    """Return the model, always with the same weights."""
    inputs = keras.Input((NUM_FEATURES,))
    hidden = keras.layers.Dense(NUM_HIDDEN, "tanh", name="hidden")(inputs)
    outputs = keras.layers.Dense(1, name="output")(hidden)
    model = make(inputs, outputs, **settings)
    generator = np.random.default_rng(2)
    model.set_weights([generator.normal(size=w.shape) for w in model.weights])
    return model


def compiled(mode=EAGER, momentum=0.0, optimizer=None, **settings):
    """Return the model, compiled with SGD unless told otherwise."""
    model = network(**settings)
    optimizer = optimizer or keras.optimizers.SGD(LEARNING_RATE, momentum)
    model.compile(optimizer, "mse", **mode)
    return model


def examples(number=NUM_EXAMPLES):
    """Return x, y and sample weights."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(number, NUM_FEATURES)).astype("float32")
    y = generator.integers(0, 2, size=(number, 1)).astype("float32")
    sample_weight = generator.uniform(0.5, 1.5, number).astype("float32")
    return x, y, sample_weight


def batches(number=NUM_EXAMPLES):
    """Return the batches that `fit` sees, for the reference."""
    x, y, sample_weight = (a.astype("float64") for a in examples(number))
    rows = [slice(i, i + BATCH_SIZE) for i in range(0, number, BATCH_SIZE)]
    return [(x[i], y[i, 0], sample_weight[i]) for i in rows]


class Recorder(keras.callbacks.Callback):
    """Remembers weights and logs after every batch."""

    def __init__(self):
        super().__init__()
        self.weights = []
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(flat(self.model.get_weights()))
        self.logs.append(dict(logs))


def fit(model, epochs=1, number=NUM_EXAMPLES, **arguments):
    """Fit the model on the examples in order; return a `Recorder`."""
    x, y, sample_weight = examples(number)
    recorder = Recorder()
    model.fit(
        x,
        y,
        sample_weight=sample_weight,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[recorder, *arguments.pop("callbacks", [])],
        **arguments,
    )
    return recorder


def flat(arrays):
    """Return arrays as one vector."""
    return np.concatenate([np.ravel(a) for a in arrays]).astype("float64")


def values(variables):
    """Return the values of variables."""
    return [variable.numpy() for variable in variables]


def assert_same(first, second):
    """Assert that two lists of arrays are equal bit for bit."""
    assert len(first) == len(second)
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)
