"""What the user's optimizer gets: one gradient per step, once.

The table of side effects in `keras_sam/engine/__init__.py`, sparse gradients
and norms. `tests/trainers/test_optimizers.py` has what optimizers do, and
`tests/methods/test_gradients.py` gradients that are zero or missing.
"""

import keras
import numpy as np
import pytest
from keras import layers
from keras import optimizers

import keras_sam

RHO = 0.5
NUM_FEATURES = 3


def regression(**settings):
    inputs = keras.Input((NUM_FEATURES,))
    outputs = layers.Dense(1)(inputs)
    return keras_sam.SAMModel(inputs, outputs, rho=RHO, **settings)


def embedding(**settings):
    inputs = keras.Input((1,), dtype="int32")
    outputs = layers.Flatten()(layers.Embedding(3, 1)(inputs))
    model = keras_sam.SAMModel(inputs, outputs, rho=RHO, **settings)
    model.set_weights([np.ones((3, 1))])
    return model


def test_duplicate_rows_are_summed_before_the_norm(mode):
    # Rows 0, 0 and 1 of (1, 1, 1), targets -1/2, -1/2 and -3: the residuals
    # are 1.5, 1.5 and 4, and the loss (2 * 2.25 + 16) / 3. The gradient
    # 2/3 * (1.5 + 1.5, 4, 0) = (2, 8/3, 0) has norm 10/3, so with rho = 0.5
    # e = (0.3, 0.4, 0). At w + e the residuals are 1.8, 1.8 and 4.4, the loss
    # is (2 * 3.24 + 19.36) / 3, which is 5.34 / 3 = 1.78 higher, and the
    # gradient 2/3 * (3.6, 4.4, 0). The step has length 0.3.
    model = embedding()
    model.compile(optimizers.SGD(0.3), "mse", **mode)
    logs = model.train_on_batch(
        np.array([[0], [0], [1]]),
        np.array([[-0.5], [-0.5], [-3.0]]),
        return_dict=True,
    )
    # About ten float32 operations, on numbers up to 9.
    np.testing.assert_allclose(
        model.get_weights()[0],
        [[1 - 0.72], [1 - 0.88], [1.0]],
        rtol=0,
        atol=10 * 2**-24,
    )
    assert logs["sharpness"] == pytest.approx(1.78, abs=90 * 2**-24)


def test_gradient_far_below_one_still_gives_a_perturbation_of_norm_rho():
    model = regression()
    model.compile(optimizers.SGD(0.0), lambda y, y_pred: 1e-12 * y_pred)
    logs = model.train_on_batch(
        np.ones((1, NUM_FEATURES)), np.zeros((1, 1)), return_dict=True
    )
    # The slope is 1e-12 along each of four weights, of norm 2e-12. Two
    # predictions of order one are subtracted, each off by some 2^-24.
    assert logs["sharpness"] == pytest.approx(2e-12 * RHO, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The weights are")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norm_of_many_small_numbers_is_accumulated_in_float32(dtype, mode):
    # All 4096 slopes are 1, of norm 64, so with rho = 1 every weight moves by
    # 1/64 and the sum of all by 64. A running sum in bfloat16 would stop at
    # 256 and one in float16 at 2048.
    inputs = keras.Input((4096,), dtype=dtype)
    dense = layers.Dense(
        1, use_bias=False, kernel_initializer="zeros", dtype=dtype
    )
    model = keras_sam.SAMModel(inputs, dense(inputs), rho=1.0, dtype=dtype)
    model.compile(
        optimizers.SGD(2.0**-6), lambda y, y_pred: y_pred,
        auto_scale_loss=False, **mode,
    )  # fmt: skip
    x = np.ones((1, 4096), dtype)
    logs = model.train_on_batch(x, np.zeros((1, 1)), return_dict=True)
    # Exact: powers of two.
    assert logs == {"loss": 0.0, "sharpness": 64.0}
