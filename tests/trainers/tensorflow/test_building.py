"""How the variables of a model are made on TensorFlow."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_sam
from tests.contract.twins import normal

X, Y = normal(8, 4), normal(8, 1)


def test_maybe_symbolic_build_is_how_fit_builds(monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    calls = []
    monkeypatch.setattr(
        model,
        "_maybe_symbolic_build",
        lambda iterator=None, data_batch=None: calls.append(iterator),
    )
    model.fit(np.zeros((1, 2)), np.zeros((1, 1)), verbose=0)
    assert len(calls) == 1
    assert calls[0] is not None


class Branching(keras_sam.SAMModel):
    """Looks at its inputs, to choose a layer."""

    def __init__(self):
        super().__init__()
        self.one = keras.layers.Dense(1)
        self.other = keras.layers.Dense(1)

    def build(self, shape):
        self.one.build(shape)
        self.other.build(shape)

    def call(self, x):
        return self.one(x) if ops.mean(x) > 0 else self.other(x)


class Unbuilt(keras_sam.SAMModel):
    """Has no layer before it is called, and counts its calls in training."""

    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(1)
        self.dropout = keras.layers.Dropout(0.5, seed=1)

    def build(self, shape):
        self.count = self.add_weight(
            shape=(), initializer="zeros", trainable=False
        )
        self.head.build(shape)

    def call(self, x, training=False):
        if training:
            self.count.assign_add(1.0)
        return self.dropout(self.head(x), training=training)


def loss_that_branches(y, y_pred):
    if ops.mean(y_pred) > 100:
        raise ValueError("diverged")
    return ops.mean(ops.square(y - y_pred), axis=-1)


def metric_in_numpy(y, y_pred):
    return float(np.mean(np.abs(np.asarray(y) - y_pred.numpy())))


@pytest.mark.parametrize("trains", ["fit", "train_on_batch", "verify"])
def test_with_run_eagerly_nothing_is_called_symbolically(trains):
    model = Branching()
    model.compile(
        "sgd", loss_that_branches, metrics=[metric_in_numpy], run_eagerly=True
    )
    if trains == "fit":
        model.fit(X, Y, verbose=0)
    elif trains == "verify":
        keras_sam.verify(model, X, Y)
    else:
        model.train_on_batch(X, Y)
    assert len(model.trainable_variables) == 4


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_building_leaves_state_as_it_was(run_eagerly):
    states = []
    for built in (False, True):
        keras.utils.set_random_seed(0)
        model = Unbuilt()
        if built:
            model.build((None, 4))
        model.compile("sgd", "mse", metrics=["mae"], run_eagerly=run_eagerly)
        model.fit(X, Y, shuffle=False, verbose=0)
        states.append([v.numpy() for v in model.variables])
    assert 1.0 in [value for value in states[0] if value.shape == ()]
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


class AddsItsLoss(keras_sam.SAMModel):
    """Is compiled without a loss."""

    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, x):
        outputs = self.head(x)
        self.add_loss(ops.mean(ops.square(outputs)))
        return outputs


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_builds_a_model_that_only_adds_losses(run_eagerly):
    model = AddsItsLoss()
    model.compile("sgd", run_eagerly=run_eagerly)
    logs = model.fit(X, Y, verbose=0).history
    np.testing.assert_allclose(logs["loss"], [np.mean(X.sum(1) ** 2)], 1e-6)
    assert np.all(model.head.kernel.numpy() != 1)
