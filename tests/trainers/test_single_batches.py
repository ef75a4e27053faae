"""Single batches, evaluation, prediction, and inputs that are not arrays."""

import keras
import numpy as np
import pytest
from keras import layers

from tests import cases
from tests import models
from tests import training

NAMES = ("dense", "dict_inputs", "list_outputs", "batch_norm_dropout")


def pair(name, **settings):
    """Return a compiled plain model and its sharp twin, and the task."""
    task = cases.MODELS[name]
    twins = []
    for arguments in (None, {"rho": 0.0, **settings}):
        keras.utils.set_random_seed(1)
        model = task.build(arguments)
        training.compile_model(model, task, run_eagerly=True)
        twins.append(model)
    return *twins, task


@pytest.mark.parametrize("name", NAMES)
def test_evaluate_and_predict_are_those_of_keras(name):
    plain, sharp, task = pair(name, rho=0.1)
    for return_dict in (False, True):
        expected, received = (
            model.evaluate(task.x, task.y, verbose=0, return_dict=return_dict)
            for model in (plain, sharp)
        )
        assert received == expected
    assert list(received) == list(expected)
    training.assert_same(
        sharp.predict(task.x, verbose=0), plain.predict(task.x, verbose=0)
    )
    training.assert_same(
        sharp.predict_on_batch(task.x), plain.predict_on_batch(task.x)
    )
    training.assert_same(training.state(sharp), training.state(plain))


@pytest.mark.parametrize("name", NAMES)
def test_evaluate_after_fit_has_no_sharpness(name):
    task = cases.MODELS[name]
    model, _ = training.train(task, {})
    plain, _ = training.train(task, None)
    assert "sharpness" not in model.metrics_names
    assert len(model.metrics) == len(plain.metrics)
    logs = model.evaluate(task.x, task.y, verbose=0, return_dict=True)
    assert list(logs) == list(
        plain.evaluate(task.x, task.y, verbose=0, return_dict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_lists_of_train_on_batch_and_test_on_batch_are_those_of_keras(name):
    plain, sharp, task = pair(name)
    for _ in range(2):
        keras.utils.set_random_seed(3)
        expected = plain.train_on_batch(task.x, task.y)
        keras.utils.set_random_seed(3)
        received = sharp.train_on_batch(task.x, task.y)
        assert type(received) is type(expected)
        training.assert_same(received, expected)
        training.assert_same(
            sharp.test_on_batch(task.x, task.y),
            plain.test_on_batch(task.x, task.y),
        )
    training.assert_same(training.state(sharp), training.state(plain))


@pytest.mark.parametrize("name", NAMES)
def test_only_dictionaries_of_train_on_batch_have_sharpness(name):
    plain, sharp, task = pair(name, rho=0.1)
    expected = plain.train_on_batch(task.x, task.y, return_dict=True)
    received = sharp.train_on_batch(task.x, task.y, return_dict=True)
    assert received["sharpness"] > 0
    assert received.keys() == {*expected, "sharpness"}
    received = sharp.test_on_batch(task.x, task.y, return_dict=True)
    assert received.keys() == expected.keys()


def test_train_on_batch_without_metrics_returns_a_scalar():
    model = models.dense({})
    model.compile("sgd", "mse", run_eagerly=True)
    loss = model.train_on_batch(cases.FEATURES, cases.ONE_HOT)
    assert np.ndim(loss) == 0


@pytest.mark.parametrize(
    "weights",
    [
        {"sample_weight": np.linspace(0, 1, cases.NUM_EXAMPLES)},
        {"class_weight": {0: 1.0, 1: 0.5, 2: 3.0}},
    ],
    ids=lambda weights: next(iter(weights)),
)
def test_train_on_batch_takes_weights(weights):
    plain, sharp, task = pair("dense")
    training.assert_same(
        sharp.train_on_batch(task.x, task.y, **weights),
        plain.train_on_batch(task.x, task.y, **weights),
    )
    training.assert_same(training.state(sharp), training.state(plain))


def test_rho_0_is_plain_fit_with_shuffling():
    histories = []
    for model in pair("dense")[:2]:
        keras.utils.set_random_seed(5)
        model.fit(cases.FEATURES, cases.CLASSES, epochs=2, verbose=0)
        histories.append(training.values(model.weights))
    training.assert_same(*histories)


def test_rho_0_is_plain_fit_for_a_model_of_keras_applications():
    x = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    y = np.arange(8) % 3
    results = []
    # Batch normalization of four images makes the loss so steep that it need
    # not rise at a distance of 0.05; it does where it is nearly linear.
    for settings in (None, {"rho": 0.0}, {"rho": 1e-3}):
        keras.utils.set_random_seed(1)
        model = models.mobile_net(settings)
        model.compile(
            "sgd", "sparse_categorical_crossentropy", run_eagerly=True
        )
        logs = model.fit(x, y, batch_size=4, verbose=0, shuffle=False).history
        results.append(training.values(model.variables))
    training.assert_same(results[1], results[0])
    assert logs["sharpness"][0] > 0
    assert all(np.all(np.isfinite(value)) for value in results[2])
    assert any(np.any(a != b) for a, b in zip(results[2], results[0]))


@pytest.mark.parametrize("num_microbatches", [1, 3])
def test_ctc_loss_trains(num_microbatches):
    inputs = keras.Input((5, 6))
    model = models.functional(
        inputs,
        layers.Dense(4)(inputs),
        {"num_microbatches": num_microbatches},
    )
    model.compile("sgd", keras.losses.CTC(), jit_compile=False)
    labels = 1 + cases.TOKENS[:, :2] % 3
    logs = model.fit(cases.SEQUENCES, labels, batch_size=8, verbose=0).history
    assert np.isfinite(logs["loss"][0])
    assert logs["sharpness"][0] > 0


if cases.IS_NEWER_KERAS:  # The oldest takes no optional inputs.

    @pytest.mark.parametrize("num_microbatches", [1, 3])
    def test_an_input_may_be_optional(num_microbatches):
        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                self.head = models.probabilities()

            def call(self, x):
                return self.head(x["features"])

        model = models.adopt(Net(), {"num_microbatches": num_microbatches})
        model.compile("sgd", "sparse_categorical_crossentropy")
        x = {"features": cases.FEATURES, "extra": None}
        logs = model.fit(x, cases.CLASSES, batch_size=8, verbose=0).history
        assert logs["sharpness"][0] > 0
