"""Where SAM is off: bit for bit what `keras.Model` does, and one program."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import optimizers
from keras.optimizers.schedules import PiecewiseConstantDecay

import keras_sam
from tests import frameworks
from tests.contract.twins import Scale
from tests.contract.twins import mean_prediction

NUM_EXAMPLES = 16
BATCH_SIZE = 6


def network(make_model):
    inputs = keras.Input((5,))
    x = layers.Dense(8, kernel_regularizer="l2")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    x = layers.Dropout(0.3)(x)
    return make_model(inputs, layers.Dense(3, activation="softmax")(x))


class Recorder(keras.callbacks.Callback):
    """Remembers all variables after every batch."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        variables = [*self.model.variables, *self.model.optimizer.variables]
        self.steps.append([v.numpy() for v in variables])


def fit(make_model, mode):
    """Return all variables after every step, and the history."""
    keras.utils.set_random_seed(1)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(NUM_EXAMPLES, 5)).astype("float32")
    y = generator.integers(0, 3, NUM_EXAMPLES)
    model = network(make_model)
    model.compile(
        optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **mode,
    )
    recorder = Recorder()
    history = model.fit(
        x,
        y,
        sample_weight=np.linspace(0, 2, NUM_EXAMPLES),
        batch_size=BATCH_SIZE,
        epochs=3,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.steps, history.history


def assert_equal(steps, expected):
    for step, expected_step in zip(steps, expected, strict=True):
        for actual, value in zip(step, expected_step, strict=True):
            np.testing.assert_array_equal(actual, value)


def assert_plain_training(make, mode):
    steps, history = fit(make, mode)
    plain_steps, plain_history = fit(keras.Model, mode)
    assert_equal(steps, plain_steps)
    assert history.pop("sharpness") == [0.0, 0.0, 0.0]
    assert history == plain_history


def test_rho_of_zero_is_plain_training_bit_for_bit(mode):
    assert_plain_training(
        lambda *ends: keras_sam.SAMModel(*ends, rho=0.0), mode
    )


def test_rho_of_zero_is_plain_training_of_a_wrapped_model_bit_for_bit():
    assert_plain_training(
        lambda *ends: keras_sam.SAMModel.from_model(
            keras.Model(*ends), rho=0.0
        ),
        {"jit_compile": False},
    )


@pytest.fixture
def _same_arithmetic():
    with frameworks.same_arithmetic():
        yield


@pytest.mark.usefixtures("_same_arithmetic")
def test_steps_where_the_schedule_is_zero_are_plain_bit_for_bit(mode):
    rho = PiecewiseConstantDecay([4], [0.0, 0.5])
    steps, history = fit(lambda *ends: keras_sam.SAMModel(*ends, rho=rho), mode)
    plain_steps, _ = fit(keras.Model, mode)
    # Three batches per epoch; iterations 0 to 4 are plain, 5 is not.
    assert_equal(steps[:5], plain_steps[:5])
    assert np.any(steps[5][0] != plain_steps[5][0])
    assert history["sharpness"][0] == 0.0
    assert history["sharpness"][1] > 0.0


def test_sharpness_is_a_mean_over_the_batches_where_sam_is_on(mode):
    # The loss is w, and rises by rho = 0.5 in the last two of three batches.
    inputs = keras.Input((1,))
    rho = PiecewiseConstantDecay([0], [0.0, 0.5])
    model = keras_sam.SAMModel(inputs, Scale()(inputs), rho=rho)
    model.compile(optimizers.SGD(0.0), mean_prediction, **mode)
    x = np.ones((3, 1))
    history = model.fit(x, x, batch_size=1, verbose=0).history
    # Exact: powers of two.
    assert history == {"loss": [1.0], "sharpness": [0.5]}


class Traced(layers.Layer):
    """Counts the times that its Python code runs."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def call(self, inputs):
        self.count += 1
        return inputs


def calls_in_training(make_model, **mode):
    """Return how often the model's Python code runs, batch by batch."""
    traced = Traced()
    inputs = keras.Input((5,))
    model = make_model(inputs, layers.Dense(1)(traced(inputs)))
    model.compile("sgd", "mse", **mode)
    x, y = np.zeros((12, 5)), np.zeros((12, 1))
    model.evaluate(x, y, verbose=0)  # Builds the metrics, a call of its own.
    counts = [traced.count]
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: counts.append(traced.count)
    )
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[count])
    return np.diff(counts).tolist()


@pytest.mark.parametrize("settings", [{}, {"num_microbatches": 2}])
def test_rho_of_zero_removes_the_second_pass_from_the_program(settings):
    off = calls_in_training(
        lambda *ends: keras_sam.SAMModel(*ends, rho=0.0, **settings),
        jit_compile=False,
    )
    assert off == calls_in_training(keras.Model, jit_compile=False)


def test_schedule_of_zero_skips_the_second_pass():
    rho = PiecewiseConstantDecay([0], [0.0, 0.5])
    calls = calls_in_training(
        lambda *ends: keras_sam.SAMModel(*ends, rho=rho), run_eagerly=True
    )
    plain_calls = calls_in_training(keras.Model, run_eagerly=True)
    assert np.subtract(calls, plain_calls).tolist() == [0, 1, 1]
