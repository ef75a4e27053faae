"""A loss of its own for the perturbation; all else is the loss of `compile`."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_sam
from tests import frameworks
from tests import marks
from tests.arrays import assert_same
from tests.arrays import flat
from tests.arrays import values
from tests.small_network import EAGER

RHO, RATE = 0.3, 0.1
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(8, 3)).astype("float32")
Y = GENERATOR.normal(size=(8, 1)).astype("float32")
WEIGHTS = GENERATOR.uniform(0.5, 1.5, 8).astype("float32")

# Some thirty float32 operations on numbers of order one.
ROUNDING = 30 * 2**-23


def regression(mode=EAGER, rho=RHO, **settings):
    """Return a linear model, always with the same weights."""
    inputs = keras.Input((3,))
    outputs = layers.Dense(1)(inputs)
    model = keras_sam.SAMModel(inputs, outputs, rho=rho, **settings)
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(size=w.shape) for w in model.weights])
    model.compile(keras.optimizers.SGD(RATE), "mse", **mode)
    return model


def squared_error(w, x, y, weights):
    """Return the loss, and its gradient."""
    residual = x @ w - y
    gradient = x.T @ (weights * 2 * residual) / len(x)
    return np.mean(weights * residual**2), gradient


def absolute_error(w, x, y, weights):
    residual = x @ w - y
    return x.T @ (weights * np.sign(residual)) / len(x)


def step_by_hand(w, parts):
    """Return the weights after a step, its loss and the rise, in float64."""
    found = []
    for x, y, weights in parts:
        by_ascent = absolute_error(w, x, y, weights)
        e = RHO * by_ascent / np.linalg.norm(by_ascent)
        loss, _ = squared_error(w, x, y, weights)
        perturbed_loss, h = squared_error(w + e, x, y, weights)
        found.append((h, loss, perturbed_loss - loss))
    h, loss, rise = (np.mean(a, axis=0) for a in zip(*found))
    return w - RATE * h, loss, rise


@pytest.mark.parametrize("num_parts", [1, 2])
@pytest.mark.parametrize("name", marks.MODES)
def test_the_perturbation_alone_follows_the_loss_for_the_ascent(
    name, num_parts
):
    model = regression(
        dict(frameworks.MODES[name]),
        ascent_loss=keras.losses.MeanAbsoluteError(),
        num_microbatches=num_parts,
    )
    w = flat(model.get_weights()).astype("float64")
    x = np.column_stack([X, np.ones(8)]).astype("float64")
    rows = np.split(np.arange(8), num_parts)
    w, loss, rise = step_by_hand(
        w, [(x[i], Y[i, 0].astype("float64"), WEIGHTS[i]) for i in rows]
    )
    logs = model.train_on_batch(X, Y, WEIGHTS, return_dict=True)
    found = flat(model.get_weights())
    np.testing.assert_allclose(found, w, rtol=0, atol=ROUNDING)
    assert logs["loss"] == pytest.approx(loss, rel=ROUNDING)
    assert logs["sharpness"] == pytest.approx(rise, abs=ROUNDING * loss)


def two_outputs(**settings):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    hidden = layers.Dense(4, "tanh", kernel_regularizer="l2")(inputs)
    outputs = [layers.Dense(1, name=name)(hidden) for name in ("a", "b")]
    return keras_sam.SAMModel(inputs, outputs, rho=RHO, **settings)


def trained_on_both(mode, loss, **settings):
    model = two_outputs(**settings)
    model.compile(keras.optimizers.SGD(RATE), loss, **mode)
    logs = model.fit(X, [Y, Y], batch_size=4, epochs=2, verbose=0).history
    return model, logs


@pytest.mark.parametrize("loss", ["mse", ["mse", "mae"]], ids=["one", "two"])
@pytest.mark.parametrize("name", marks.MODES)
def test_the_same_loss_changes_nothing(name, loss):
    """With regularizers, several outputs, and their losses in the logs."""
    mode = dict(frameworks.MODES[name])
    expected, expected_logs = trained_on_both(mode, loss)
    model, logs = trained_on_both(mode, loss, ascent_loss=loss)
    assert_same(values(model.variables), values(expected.variables))
    assert logs == expected_logs


@pytest.mark.parametrize("mode", marks.EAGER_AND_GRAPH)
def test_several_losses_of_one_output_are_added(mode):
    after = []
    for loss in (lambda y, p: (y - p) ** 2 + ops.abs(y - p), ["mse", "mae"]):
        model = regression(mode, ascent_loss=loss)
        model.train_on_batch(X, Y)
        after.append(flat(model.get_weights()))
    np.testing.assert_allclose(*after, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError()])
def test_the_loss_of_one_output_does_not_perturb_the_others(loss):
    model = two_outputs(ascent_loss={"a": loss, "b": None})
    model.compile(keras.optimizers.SGD(RATE), ["mse", "mae"], **EAGER)
    report = keras_sam.verify(model, X, [Y, Y])
    assert report.relative_sizes["a/kernel"] > 0.01
    assert report.relative_sizes["b/kernel"] == 0.0


@pytest.mark.parametrize("name", marks.MODES)
def test_a_plain_step_follows_the_loss_of_compile(name):
    mode = dict(frameworks.MODES[name])
    late = keras_sam.schedules.LatePhase(1, RHO)
    after = []
    for settings in ({"ascent_loss": "mae", "rho": late}, {"rho": 0.0}):
        model = regression(mode, **settings)
        model.train_on_batch(X, Y)
        after.append(values(model.trainable_variables))
    for found, expected in zip(*after):
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", marks.MODES)
def test_with_an_infinite_ascent_loss_the_step_is_plain(name):
    mode = dict(frameworks.MODES[name])

    def infinite(y, y_pred):
        return keras.ops.sum(y_pred - y, axis=-1) * np.inf

    after, logs = [], []
    for settings in ({"ascent_loss": infinite}, {"rho": 0.0}):
        model = regression(mode, **settings)
        logs.append(model.train_on_batch(X, Y, return_dict=True))
        after.append(values(model.trainable_variables))
    for found, expected in zip(*after):
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)
    assert float(logs[0]["loss"]) == pytest.approx(float(logs[1]["loss"]))
    assert float(logs[0]["sharpness"]) == 0.0
