"""Loss scaling, for every method: unscaled gradients, skipped steps."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_sam import vectors
from keras_sam.methods import Method
from tests import frameworks
from tests import marks
from tests import small_network
from tests.frameworks import COMPILED
from tests.methods.table import METHODS
from tests.methods.table import Row
from tests.small_network import EAGER

SCALE = 2.0**10


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True, kw_only=True)
class NotHomogeneous(Method):
    """Depends on the length of every gradient, unlike SAM."""

    def perturb(self, gradients, weights, rho, state):
        return vectors.scale(rho, gradients)

    def combine(self, gradients, perturbed_gradients, state):
        squares = vectors.multiply(perturbed_gradients, perturbed_gradients)
        return vectors.add(gradients, squares)


ROWS = {**METHODS, "not_homogeneous": Row(NotHomogeneous(), None)}


def unscaled(optimizer, scale):
    return optimizer


def scaled(optimizer, scale):
    return keras.optimizers.LossScaleOptimizer(
        optimizer, initial_scale=scale, dynamic_growth_steps=100
    )


def scaled_by_a_constant(optimizer, scale):
    optimizer.loss_scale_factor = scale
    return optimizer


def model_for(name, mode=EAGER, scaling=scaled, scale=SCALE, **settings):
    return small_network.compiled(
        mode,
        optimizer=scaling(keras.optimizers.SGD(0.1, 0.8), scale),
        method=ROWS[name].method,
        rho=ROWS[name].rho,
        **settings,
    )


def batches(count):
    x, y, _ = small_network.examples(5 * count)
    return list(zip(np.split(x, count), np.split(y, count)))


def train(model, batches):
    """Return the logs of each step by itself."""
    return [model.train_on_batch(x, y, return_dict=True) for x, y in batches]


def state(model):
    """Return weights and method state."""
    return small_network.values(model.variables)


@pytest.mark.parametrize(
    "scaling", marks.slow_but([scaled], [scaled, scaled_by_a_constant])
)
@pytest.mark.parametrize("num_microbatches", marks.ONE_OR_TWO)
@pytest.mark.parametrize("name", ROWS)
def test_scaling_by_a_power_of_two_changes_no_bit(
    name, num_microbatches, scaling
):
    plain, with_scaling = (
        model_for(name, scaling=how, num_microbatches=num_microbatches)
        for how in (unscaled, scaling)
    )
    # With scaling, Keras updates the weights in a conditional, which JAX
    # compiles even if the step around it is not.
    with frameworks.uncompiled():
        logs = [train(model, batches(5)) for model in (plain, with_scaling)]
    assert any(log["sharpness"] != 0 for log in logs[0])
    assert logs[0] == logs[1]
    small_network.assert_same(state(plain), state(with_scaling))


@pytest.mark.parametrize("num_microbatches", marks.ONE_OR_TWO)
@pytest.mark.parametrize("name", METHODS)
def test_skipped_step_leaves_no_trace(name, num_microbatches):
    assert_no_trace(name, EAGER, num_microbatches=num_microbatches)


@marks.slow
@pytest.mark.parametrize("mode", COMPILED.values(), ids=COMPILED)
@pytest.mark.parametrize("name", ["weighted_sam", "vasso", "ae_sam"])
def test_skipped_compiled_step_leaves_no_trace(name, mode):
    assert_no_trace(name, mode)


def assert_no_trace(name, mode, **settings):
    # Powers of two as scales, so that the halved one changes no bit. The bad
    # batch comes first, while the method has no state yet, and again later.
    good = batches(4)
    x, y = good[0]
    bad = (x, np.where(np.arange(5)[:, None] == 3, np.inf, y))
    expected, found = (model_for(name, mode, **settings) for _ in range(2))
    train(expected, good)
    train(found, [bad, good[0], good[1], bad, *good[2:]])
    assert float(found.optimizer.dynamic_scale.value) == SCALE / 4
    small_network.assert_same(state(found), state(expected))
    for value in state(found):
        assert np.all(np.isfinite(value))


def test_skipped_step_does_not_count_in_the_sharpness():
    x, y = batches(1)[0]
    y = 4 * y
    # The first scaled gradient overflows, not its loss.
    model = model_for("sam", scale=2.0**127)
    logs = model.fit(
        np.tile(x, (3, 1)),
        np.tile(y, (3, 1)),
        batch_size=5,
        shuffle=False,
        verbose=0,
    ).history
    assert float(model.optimizer.dynamic_scale.value) == 2.0**126
    twin = model_for("sam")
    rises = [step["sharpness"] for step in train(twin, [(x, y)] * 2)]
    # A float32 mean of two.
    assert logs["sharpness"] == [pytest.approx(np.mean(rises), rel=1e-6)]


@pytest.mark.parametrize("name", METHODS)
def test_mixed_float16_takes_steps_of_the_right_size(name):
    full = model_for(name, scaling=unscaled)
    before = full.get_weights()
    train(full, batches(4))
    keras.config.set_dtype_policy("mixed_float16")
    mixed = model_for(name)
    train(mixed, batches(4))
    # Four steps of about ten float16 operations, each off by up to 2^-11,
    # relative to the largest part of the update. `g + a (h - g)` with a = 4
    # adds up 1 + 2 a such errors.
    tolerance = 4 * 10 * 2**-11
    if name in ("weighted_sam", "coupled"):
        tolerance *= 9
    update = small_network.flat(full.get_weights()) - small_network.flat(before)
    found = small_network.flat(mixed.get_weights()) - small_network.flat(before)
    np.testing.assert_allclose(
        found, update, rtol=0, atol=tolerance * np.max(np.abs(update))
    )
