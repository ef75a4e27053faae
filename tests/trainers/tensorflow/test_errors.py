"""Bad input that only TensorFlow knows."""

import keras
import pytest
import tensorflow as tf
from keras import layers

import keras_sam
from tests import test_custom_loop
from tests.test_sam_model import X
from tests.test_sam_model import Y
from tests.test_sam_model import compiled
from tests.test_sam_model import unchanged


def test_more_micro_batches_than_examples_of_a_dataset_are_refused():
    model = compiled(num_microbatches=8)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4, True)
    message = "`num_microbatches` must not be larger.*=8.* batch of 4"
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)


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
def test_a_raw_variable_is_refused_with_the_layer_that_holds_it(make):
    inputs = keras.Input((4,))
    x = layers.Dense(1)(Holder(make, name="holder")(inputs))
    model = keras_sam.SAMModel(inputs, x)
    model.compile("adam", "mse")
    unchanged(model, "Layer 'holder' holds the `tf.Variable` 'raw")


def test_a_trainable_variable_in_a_closure_is_refused():
    scale = tf.Variable(1.0, name="closed_over")
    inputs = keras.Input((4,))
    x = layers.Dense(1)(layers.Lambda(lambda t: t * scale)(inputs))
    model = keras_sam.SAMModel(inputs, x)
    model.compile("adam", "mse")
    unchanged(
        model, "trainable variables that Keras does not know.*closed_over"
    )


def test_a_loaded_saved_model_is_refused(tmp_path):
    keras.Sequential([keras.Input((4,)), layers.Dense(2)]).export(
        tmp_path, verbose=False
    )
    inputs = keras.Input((4,))
    loaded = layers.TFSMLayer(tmp_path, call_endpoint="serve", name="loaded")
    model = keras_sam.SAMModel(inputs, layers.Dense(1)(loaded(inputs)))
    model.compile("adam", "mse")
    unchanged(model, "Layer 'loaded' holds the `tf.Variable`")
