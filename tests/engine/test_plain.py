"""Where SAM is off: bit for bit what `keras.Model` does, and one program."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import optimizers
from keras.optimizers.schedules import PiecewiseConstantDecay

import keras_sam
from tests import cases
from tests import frameworks
from tests import models
from tests import training
from tests.arrays import assert_same
from tests.contract.twins import Counter
from tests.contract.twins import Scale
from tests.contract.twins import mean_prediction

TASK = cases.MODELS["batch_norm_dropout"]


class Recorder(keras.callbacks.Callback):
    """Stores all variables after every batch."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(training.state(self.model))


def fit(settings, mode):
    """Return all variables after each of 6 steps, and the history."""
    recorder = Recorder()
    _, history = training.train(
        TASK,
        settings,
        data="sample_weight",
        callbacks=lambda: [recorder],
        **mode,
    )
    return recorder.steps, history


def test_rho_of_zero_is_plain_training_bit_for_bit(mode):
    training.assert_equals_plain(TASK, "sam", data="sample_weight", **mode)


@pytest.fixture
def _same_arithmetic():
    with frameworks.same_arithmetic():
        yield


@pytest.mark.usefixtures("_same_arithmetic")
def test_steps_where_the_schedule_is_zero_are_plain_bit_for_bit(mode):
    rho = PiecewiseConstantDecay([4], [0.0, 0.5])
    steps, history = fit({"rho": rho}, mode)
    plain_steps, _ = fit(None, mode)
    # Three batches per epoch; iterations 0 to 4 are plain, 5 is not.
    assert_same(steps[:5], plain_steps[:5])
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


def counting(settings):
    """Return a model whose one weight is a counter."""
    inputs = keras.Input((3,))
    return models.functional(inputs, Counter()(inputs), settings)


def frozen(settings):
    model = models.batch_norm_dropout(settings)
    model.trainable = False
    return model


class Unbuilt:
    """Has no weight before it is called, nor after it."""

    def call(self, x):
        return 2.0 * x


class PlainUnbuilt(Unbuilt, keras.Model):
    pass


class SharpUnbuilt(Unbuilt, keras_sam.SAMModel):
    pass


def unbuilt(settings):
    return PlainUnbuilt() if settings is None else SharpUnbuilt(**settings)


X = cases.FEATURES[:, :3]
WEIGHTLESS = {
    "counting": cases.Task(counting, X, X, "mse", ("mae",)),
    "frozen": cases.Task(frozen),
    "unbuilt": cases.Task(unbuilt, X, X, "mse", ("mae",)),
}


def trained_without_weights(kind, method, mode):
    """Return state and logs of the plain model and of the sharp one."""
    task = WEIGHTLESS[kind]
    plain, plain_logs = training.train(task, None, **mode)
    with pytest.warns(UserWarning, match="no trainable weights, so that"):
        sharp, logs = training.train(task, {"method": method}, **mode)
    assert logs.pop("sharpness") == [0.0, 0.0]
    return (training.state(plain), plain_logs), (training.state(sharp), logs)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (kind, method)
        for kind in WEIGHTLESS
        for method in ("sam", "momentum_sam", "ae_sam")
        if (kind, method) != ("unbuilt", "ae_sam")
    ],
)
def test_a_model_without_trainable_weights_takes_plain_steps(
    kind, method, mode
):
    """At rho 0 the warnings are those of Keras; above it there is one more."""
    training.assert_equals_plain(WEIGHTLESS[kind], method, **mode)
    (state, logs), (sharp_state, sharp_logs) = trained_without_weights(
        kind, method, mode
    )
    assert sharp_logs == logs
    assert_same(sharp_state, state)


def test_an_unbuilt_model_without_weights_takes_plain_steps_that_branch(mode):
    """It might have weights, so that XLA gets parts of a step of AESAM."""
    training.assert_equals_plain(WEIGHTLESS["unbuilt"], "ae_sam", **mode)
    plain, sharp = trained_without_weights("unbuilt", "ae_sam", mode)
    # Means of 24 numbers, and of three batches, summed in another order.
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=8 * 2**-24),
        plain,
        sharp,
    )


def test_layers_that_write_their_weights_train_at_rho_0(mode):
    task = cases.Task(models.spectral_normalization)
    training.assert_equals_plain(task, "sam", **mode)


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
