"""The variables that hold w + e."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_sam.backend.tensorflow.autodiff import shadow_of
from tests import small_network

COMPILED = [{"run_eagerly": True}, {"jit_compile": False}]


@pytest.mark.parametrize("mode", COMPILED)
def test_they_take_no_memory_between_steps(mode):
    model = small_network.compiled(mode)
    x, y, _ = small_network.examples()
    model.make_train_function()
    for _ in range(2):
        sizes = [
            tf.size(shadow_of(False)(v)) for v in model.trainable_variables
        ]
        assert sum(sizes) == 0
        model.train_on_batch(x, y)


def test_a_model_may_be_compiled_with_xla_and_without_in_turn():
    model = small_network.network()
    x, y, _ = small_network.examples()
    for jit_compile in (False, True, False):
        expected = small_network.compiled()
        expected.set_weights(model.get_weights())
        expected.train_on_batch(x, y)
        model.compile(
            keras.optimizers.SGD(small_network.LEARNING_RATE),
            "mse",
            jit_compile=jit_compile,
        )
        model.train_on_batch(x, y)
        for a, b in zip(model.get_weights(), expected.get_weights()):
            # Some thirty float32 operations on numbers of order one.
            np.testing.assert_allclose(a, b, rtol=0, atol=30 * 2**-24)


def test_a_program_of_xla_has_variables_of_its_own():
    model = small_network.compiled({"jit_compile": True})
    model.make_train_function()
    for variable in model.trainable_variables:
        shadow = shadow_of(True)(variable)
        assert tuple(shadow.numpy().shape) == variable.shape
