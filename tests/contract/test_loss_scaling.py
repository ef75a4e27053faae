"""Loss scaling: both passes scaled, nothing that the user sees.

The table of side effects in `keras_sam/engine/__init__.py`, row loss scaling.
`tests/methods/test_loss_scaling.py` has the steps of every method.
"""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from keras import optimizers

import keras_sam
from tests.contract.twins import chain
from tests.contract.twins import copy_state
from tests.contract.twins import normal
from tests.contract.twins import values
from tests.methods.test_loss_scaling import NotHomogeneous

RHO = 0.5
SCALE = 2.0**10


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(keras_sam.methods.Method):
    """Perturbs independently of the gradient: e is finite where g is not."""

    def perturb(self, gradients, weights, rho, state):
        return [rho * keras.ops.ones_like(weight.value) for weight in weights]


def network(dtype="float32", **settings):
    make = chain(
        lambda: keras.Input((3,)),
        lambda: layers.Dense(4, activation="tanh", dtype=dtype),
        lambda: layers.Dense(2, dtype=dtype),
    )
    return make(lambda *ends: keras_sam.SAMModel(*ends, **settings))


@pytest.mark.parametrize("method", ["sam", "asam", NotHomogeneous()])
def test_mixed_float16_takes_steps_of_the_right_size(method, mode):
    settings = {"method": method, "rho": RHO}
    full, mixed = network(**settings), network("mixed_float16", **settings)
    copy_state(full, mixed)
    mixed.dtype_policy = keras.DTypePolicy("mixed_float16")
    before = values(full.variables)
    for model in (full, mixed):
        model.compile(optimizers.SGD(0.1), "mse", **mode)
        model.train_on_batch(normal(6, 3), normal(6, 2))
    assert isinstance(mixed.optimizer, optimizers.LossScaleOptimizer)
    for actual, expected, old in zip(
        values(mixed.variables), values(full.variables), before
    ):
        # A chain of ten float16 operations, each off by up to 2^-11, relative
        # to the largest part of the update.
        np.testing.assert_allclose(
            actual - old,
            expected - old,
            rtol=0,
            atol=10 * 2**-11 * np.max(np.abs(expected - old)),
        )


def test_gradient_is_unscaled_before_its_norm_is_taken(mode):
    # The slopes are 1e16, whose square a float32 holds, but not that of 1e16
    # times the scale.
    inputs = keras.Input((1,))
    outputs = layers.Dense(1, use_bias=False)(inputs)
    model = keras_sam.SAMModel(inputs, outputs, rho=RHO)
    optimizer = optimizers.LossScaleOptimizer(
        optimizers.SGD(0.0), initial_scale=2.0**15
    )
    model.set_weights([np.ones((1, 1))])
    model.compile(optimizer, lambda y, y_pred: 1e16 * y_pred, **mode)
    logs = model.train_on_batch(
        np.ones((1, 1)), np.zeros((1, 1)), return_dict=True
    )
    # A few float32 operations.
    assert logs["sharpness"] == pytest.approx(1e16 * RHO, rel=1e-6)


@ops.custom_gradient
def with_slope(x, slope):
    """Return zeros, whatever x is, with the given gradient."""

    def gradient(*saved, upstream=None):
        upstream = saved[-1] if upstream is None else upstream
        return upstream * slope, ops.zeros_like(slope)

    return ops.zeros_like(x), gradient


class BadSlope(layers.Layer):
    """Adds nothing, with a gradient that is bad at w, or at w + e.

    The value does not depend on its weight, which is not finite itself at
    w + e where its gradient at w is not.
    """

    def __init__(self, bad_pass, bad_value):
        super().__init__()
        self.bad_pass = bad_pass
        self.bad_value = bad_value

    def build(self, shape):
        del shape
        self.kernel = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        # A tensor, since a function of variables would need another gradient.
        kernel = ops.multiply(self.kernel, 1.0)
        is_first = ops.equal(kernel, 1.0)
        is_bad = is_first if self.bad_pass == 1 else ~is_first
        slope = ops.where(is_bad, self.bad_value, 1.0)
        return inputs + ops.cast(with_slope(kernel, slope), inputs.dtype)


def model_with_bad_slope(bad_pass, bad_value, mode, **settings):
    inputs = keras.Input((3,))
    outputs = layers.Dense(1)(BadSlope(bad_pass, bad_value)(inputs))
    model = keras_sam.SAMModel(inputs, outputs, **settings)
    optimizer = optimizers.LossScaleOptimizer(
        optimizers.Adam(0.1), initial_scale=SCALE, dynamic_growth_steps=100
    )
    model.compile(optimizer, "mse", **mode)
    return model


@pytest.mark.parametrize("num_microbatches", [1, 2])
@pytest.mark.parametrize("method", ["sam", "asam", Constant()])
@pytest.mark.parametrize("bad_value", [np.inf, np.nan])
@pytest.mark.parametrize("bad_pass", [1, 2])
def test_bad_gradient_in_either_pass_skips_the_update_and_halves_the_scale(
    bad_pass, bad_value, method, num_microbatches
):
    mode = {"run_eagerly": True}
    settings = {"method": method, "num_microbatches": num_microbatches}
    assert_update_skipped(bad_pass, bad_value, mode, **settings)


@pytest.mark.parametrize("bad_pass", [1, 2])
def test_bad_gradient_skips_the_update_in_every_mode(bad_pass, mode):
    assert_update_skipped(bad_pass, np.inf, mode)


def assert_update_skipped(bad_pass, bad_value, mode, **settings):
    model = model_with_bad_slope(bad_pass, bad_value, mode, **settings)
    before = values(model.trainable_variables)
    model.train_on_batch(normal(4, 3), normal(4, 1))
    optimizer = model.optimizer
    for actual, expected in zip(values(model.trainable_variables), before):
        np.testing.assert_array_equal(actual, expected)
    for variable in values(optimizer.inner_optimizer.variables)[2:]:
        np.testing.assert_array_equal(variable, np.zeros_like(variable))
    assert int(optimizer.iterations) == 0
    assert float(optimizer.dynamic_scale.value) == SCALE / 2


def test_next_step_uses_the_new_scale(mode):
    # Bad only at w = 1 exactly, where the first step is skipped: so is every
    # other, and the scale is halved each time.
    model = model_with_bad_slope(1, np.inf, mode)
    for _ in range(3):
        model.train_on_batch(normal(4, 3), normal(4, 1))
    assert float(model.optimizer.dynamic_scale.value) == SCALE / 8


@pytest.mark.parametrize("method", ["sam", "gsam", "weighted_sam", "vasso"])
def test_bad_gradient_at_w_plus_e_alone_leaves_all_finite_without_scaling(
    method,
):
    inputs = keras.Input((3,))
    outputs = layers.Dense(1)(BadSlope(2, np.inf)(inputs))
    model = keras_sam.SAMModel(inputs, outputs, method=method)
    model.compile(optimizers.SGD(0.1), "mse", run_eagerly=True)
    model.train_on_batch(normal(4, 3), normal(4, 1))
    assert all(np.isfinite(value).all() for value in values(model.variables))
