"""What measuring changes in TensorFlow, and the products in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_sam.backend import curvature
from tests.sharpness import dense


def test_moments_are_those_of_tensorflow_again_after_an_exception():
    own = tf.nn.moments
    with pytest.raises(KeyboardInterrupt):
        with curvature.exact_second_derivatives():
            assert tf.nn.moments is not own
            raise KeyboardInterrupt
    assert tf.nn.moments is own


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
