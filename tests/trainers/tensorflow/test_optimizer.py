"""Sparse gradients."""

import keras
import numpy as np
from keras import layers
from keras import optimizers

import keras_sam
from tests.contract.test_optimizer import RHO
from tests.contract.test_optimizer import embedding


class Listener(optimizers.SGD):
    """Remembers the types of the gradients it was given."""

    def apply(self, grads, trainable_variables=None):
        self.types = [type(gradient).__name__ for gradient in grads]
        super().apply(grads, trainable_variables)


def test_sparse_gradient_reaches_the_optimizer_as_it_is():
    model = embedding()
    model.compile(Listener(0.1), "mse", run_eagerly=True)
    model.train_on_batch(np.array([[0], [0]]), np.zeros((2, 1)))
    assert model.optimizer.types == ["IndexedSlices"]


def test_sparse_gradient_reaches_a_loss_scaling_optimizer_as_it_is():
    inputs = keras.Input((1,), dtype="int32")
    hidden = layers.Flatten()(layers.Embedding(3, 2)(inputs))
    model = keras_sam.SAMModel(inputs, layers.Dense(1)(hidden), rho=RHO)
    optimizer = optimizers.LossScaleOptimizer(Listener(0.1))
    model.compile(optimizer, "mse", run_eagerly=True)
    model.train_on_batch(np.array([[0], [0]]), np.zeros((2, 1)))
    assert optimizer.inner_optimizer.types[0] == "IndexedSlices"
