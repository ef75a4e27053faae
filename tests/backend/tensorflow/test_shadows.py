"""The variables that hold w + e."""

import keras
import numpy as np
from keras import layers

import keras_sam
from tests import small_network


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


def test_graphs_may_ask_for_the_shape_of_a_filter_at_any_time():
    # As the gradient of a convolution does; the optimizer of graphs lets it
    # ask the variable.
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(inputs)
    x = layers.Conv2D(4, 3)(x)
    outputs = layers.Dense(1)(layers.Flatten()(x))
    model = keras_sam.SAMModel(inputs, outputs)
    model.compile("sgd", "mse", jit_compile=False)
    history = model.fit(
        np.ones((12, 8, 8, 3)), np.ones((12, 1)), batch_size=5, verbose=0
    ).history
    assert np.isfinite(history["sharpness"]).all()
