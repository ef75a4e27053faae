"""Bad input that only TensorFlow knows."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_sam
from tests import test_custom_loop
from tests.test_sam_model import X
from tests.test_sam_model import Y
from tests.test_sam_model import unchanged


def test_variables_of_tensorflow_are_refused_in_a_loop():
    model = test_custom_loop.network(keras.Model)
    loss = test_custom_loop.loss_of(model, *test_custom_loop.data())
    with pytest.raises(ValueError, match="`variables` must be a non-empty"):
        keras_sam.sharpness_aware_gradients(loss, [tf.Variable(1.0)])


class Holder(layers.Layer):
    """A layer with a `tf.Variable` somewhere."""

    def __init__(self, make, **kwargs):
        super().__init__(**kwargs)
        self.held = make()

    def call(self, x):
        return x


@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.Variable(1.0, name="raw"),
        lambda: tf.Variable(1.0, trainable=False, name="raw"),
        lambda: [tf.Variable(1.0, name="raw")],
        lambda: {"a": (tf.Variable(1.0, name="raw"),)},
    ],
)
def test_a_raw_variable_is_warned_of_with_the_layer_that_holds_it(make):
    inputs = keras.Input((4,))
    x = layers.Dense(1)(Holder(make, name="holder")(inputs))
    model = keras_sam.SAMModel(inputs, x)
    model.compile("adam", "mse")
    before = model.get_weights()
    message = "Layer 'holder' holds the `tf.Variable` 'raw"
    with pytest.warns(UserWarning, match=message):
        model.train_on_batch(X, Y)
    assert np.any(model.get_weights()[0] != before[0])


def test_a_trainable_variable_in_a_closure_is_a_constant():
    """As for `keras.Model`: the same step as with its value."""
    results = []
    for scale in (tf.Variable(2.0), 2.0):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        scaled = layers.Lambda(lambda t, scale=scale: t * scale)(inputs)
        model = keras_sam.SAMModel(inputs, layers.Dense(1)(scaled))
        model.compile("sgd", "mse")
        model.train_on_batch(X, Y)
        results.append(model.get_weights()[0])
    np.testing.assert_array_equal(*results)


class Traced(layers.Layer):
    """A layer whose `call` is a function of TensorFlow, traced once."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1), name="kernel")

    @tf.function
    def call(self, x):
        return tf.matmul(x, self.kernel)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 1)


MESSAGE = "cannot replace the value of a weight.*@tf.function"


def test_a_decorated_call_is_refused():
    inputs = keras.Input((4,))
    model = keras_sam.SAMModel(inputs, Traced()(inputs))
    model.compile("sgd", "mse")
    unchanged(model, MESSAGE)


def test_a_decorated_call_trains_where_its_weight_is_not_perturbed():
    inputs = keras.Input((4,))
    model = keras_sam.SAMModel(
        inputs,
        layers.Dense(1)(Traced()(inputs)),
        perturb=lambda variable: "dense" in variable.path,
    )
    model.compile("sgd", "mse")
    before = model.get_weights()
    logs = model.train_on_batch(X, Y, return_dict=True)
    assert logs["sharpness"] > 0
    assert all(np.any(a != b) for a, b in zip(model.get_weights(), before))


def test_a_loaded_saved_model_is_refused(tmp_path):
    keras.Sequential([keras.Input((4,)), layers.Dense(2)]).export(
        tmp_path, verbose=False
    )
    inputs = keras.Input((4,))
    loaded = layers.TFSMLayer(tmp_path, call_endpoint="serve", name="loaded")
    model = keras_sam.SAMModel(inputs, layers.Dense(1)(loaded(inputs)))
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="holds the `tf.Variable`"):
        unchanged(model, MESSAGE)
