"""`jit_compile=True`: Keras hands the step to `torch.compile`."""

import keras
import numpy as np
from keras import layers

import keras_sam
from tests.contract.twins import normal


def trained(**mode):
    """Return weights and logs after three steps."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = layers.Dense(1)(layers.Dense(8, "tanh")(inputs))
    model = keras_sam.SAMModel(inputs, outputs, rho=0.1)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", **mode)
    logs = model.fit(
        normal(12, 4), normal(12, 1), batch_size=4, shuffle=False, verbose=0
    )
    return [*model.get_weights(), logs.history["sharpness"]], model


def test_compiled_steps_are_the_eager_ones():
    expected, _ = trained(jit_compile=False)
    found, model = trained(jit_compile=True)
    assert model.jit_compile
    assert expected[-1][0] > 0
    # Three steps of about thirty float32 operations, fused or not, on numbers
    # of order one.
    for actual, value in zip(found, expected):
        np.testing.assert_allclose(actual, value, rtol=0, atol=90 * 2**-24)
