"""The same model twice, as a `keras.Model` and as a `SAMModel`, and layers."""

import keras
import numpy as np
from keras import layers

import keras_sam
from tests.arrays import copy_state as copy_state
from tests.arrays import values as values


def twins(make, **settings):
    """Return two models of equal structure and state.

    Args:
        make: Takes what makes a model from inputs and outputs; returns one.
        **settings: Keyword arguments of `SAMModel`.

    Returns:
        A `keras.Model` and a `SAMModel`.
    """
    plain = make(keras.Model)
    sam = make(lambda *ends: keras_sam.SAMModel(*ends, **settings))
    copy_state(plain, sam)
    return plain, sam


def chain(make_inputs, *make_layers):
    """Return what makes a model of these layers."""

    def make(model):
        inputs = outputs = make_inputs()
        for make_layer in make_layers:
            outputs = make_layer()(outputs)
        return model(inputs, outputs)

    return make


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


class Scale(layers.Layer):
    """Multiplies by one number, at first 1."""

    def build(self, shape):
        del shape
        self.kernel = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return inputs * self.kernel


def mean_prediction(y, y_pred):
    """With `Scale` as the last layer, a loss linear in its one weight."""
    del y
    return y_pred


class Counter(layers.Layer):
    """Counts its calls in training, and adds the count to its inputs."""

    def build(self, shape):
        del shape
        self.count = self.add_weight(
            shape=(), initializer="zeros", trainable=False
        )

    def call(self, inputs, training=False):
        if training:
            self.count.assign_add(1.0)
        return inputs + self.count


class MeanSquare(layers.Layer):
    """Adds to the loss a mean over the examples."""

    def call(self, inputs):
        self.add_loss(0.1 * keras.ops.mean(inputs**2))
        return inputs
