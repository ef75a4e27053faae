"""What measuring changes in TensorFlow, and the products in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.sharpness import dense


class Watch(layers.Layer):
    """Records `tf.nn.moments` whenever it is called."""

    def call(self, inputs):
        self.seen.append(tf.nn.moments)
        return inputs


def test_moments_are_those_of_tensorflow_while_products_are_traced():
    watch, own = Watch(), tf.nn.moments
    watch.seen = []
    model = dense.model(
        watch, layers.LayerNormalization(), layers.Dense(1), loss="mse", size=3
    )
    dense.hessian(dense.objective(model, *dense.regression_data()))
    assert len(watch.seen) >= 2
    assert all(seen is own for seen in watch.seen)


class NormalizedCell(layers.Layer):
    """A cell of a recurrent network, whose state is normalized."""

    state_size = 4

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4, activation="tanh")
        self.normalization = layers.LayerNormalization()

    def build(self, shape):
        self.dense.build((None, shape[-1] + 4))
        self.normalization.build((None, 4))

    def call(self, x, states):
        x = keras.ops.concatenate([x, states[0]], axis=-1)
        state = self.normalization(self.dense(x))
        return state, [state]


class InBranch(layers.Layer):
    """A normalization in a branch."""

    def __init__(self):
        super().__init__()
        self.normalization = layers.LayerNormalization()

    def build(self, shape):
        self.normalization.build(shape)

    def call(self, x):
        is_any = keras.ops.any(x > -9)
        return keras.ops.cond(is_any, lambda: self.normalization(x), lambda: x)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (
            lambda: layers.RNN(NormalizedCell()),
            lambda: layers.RNN(NormalizedCell(), unroll=True),
        ),
        (InBranch, layers.LayerNormalization),
    ],
    ids=["loop", "branch"],
)
def test_normalization_in_a_graph_of_its_own_has_its_second_derivative(
    make, plain, jit_compile
):
    x = np.random.default_rng(0).normal(size=(8, 3, 2))
    y = np.random.default_rng(1).normal(size=(8, 1))
    models = []
    for layer in (make(), plain()):
        model = keras.Sequential([
            keras.Input((3, 2)),
            layers.Dense(4, activation="tanh"),
            layer,
            layers.Flatten(),
            layers.Dense(1),
        ])
        model.compile("sgd", "mse", jit_compile=jit_compile)
        models.append(model)
    models[0].set_weights(models[1].get_weights())
    found, expected = (
        dense.hessian(dense.objective(model, x, y)) for model in models
    )
    # As for closed forms.
    assert np.abs(found - expected).max() < 5e-6 * np.abs(expected).max()


@pytest.fixture
def _eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("gauss_newton", [False, True])
def test_products_are_the_same_where_functions_run_eagerly(gauss_newton):
    model = dense.model(
        layers.LayerNormalization(), layers.Dense(1), loss="mse", size=3
    )
    objective = dense.objective(model, *dense.regression_data())
    eager = dense.hessian(objective, gauss_newton)
    tf.config.run_functions_eagerly(False)
    assert eager == pytest.approx(
        dense.hessian(objective, gauss_newton), abs=1e-6
    )


class Stopped(layers.Layer):
    """Divides by a deviation around a mean that is a constant to gradients."""

    def call(self, x):
        mean = tf.reduce_mean(x, 1, keepdims=True)
        mean = tf.stop_gradient(mean) if self.stops else self.mean
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), 1)
        return (x - mean) / tf.sqrt(variance + 1.0)[:, None]


def test_gradients_that_a_model_stops_stay_stopped():
    """The mean as a constant array gives the same derivatives."""
    x, y = dense.regression_data()
    layer = Stopped()
    layer.stops = True
    model = dense.model(
        layers.Dense(4, use_bias=False), layer, loss="mse", size=3
    )
    stopped = dense.hessian(dense.objective(model, x[:8], y[:8]))
    layer.stops = False
    layer.mean = tf.reduce_mean(model.layers[0](x[:8]), 1, keepdims=True)
    constant = dense.hessian(dense.objective(model, x[:8], y[:8]))
    assert np.abs(stopped - constant).max() < 5e-6 * np.abs(constant).max()


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_products_are_in_float64_for_weights_in_float64(gauss_newton):
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    x, y = dense.regression_data()
    layer = keras.layers.Dense(1, use_bias=False)
    model = dense.model(layer, loss="mse", size=3)
    found = dense.hessian(dense.objective(model, x, y), gauss_newton)
    expected = 2 * x.T @ x / 20
    # Sums of 20 terms in float64.
    assert np.abs(found - expected).max() < 1e-14 * np.abs(expected).max()
