"""A gradient without a finite length, for every method: a plain step."""

import keras
import numpy as np
import pytest

from tests import small_network
from tests.methods.table import METHODS

HUGE = 1e25
"""Of order one, a gradient times this has a square that overflows float32."""

NUM_BEFORE = 3
"""Every method then has state, and none takes a plain step next."""


def optimizer():
    return keras.optimizers.SGD(0.1, clipvalue=0.05)


def step(model, factor=1.0):
    x, y, sample_weight = small_network.examples(5)
    model.train_on_batch(x, y, sample_weight * np.float32(factor))


def stored(model):
    return small_network.values(model._sam.variables)


def after_some_steps(name, mode, **settings):
    row = METHODS[name]
    model = small_network.compiled(
        mode,
        optimizer=optimizer(),
        method=row.method,
        rho=row.rho,
        **settings,
    )
    for _ in range(NUM_BEFORE):
        step(model)
    return model


@pytest.mark.parametrize("factor", [HUGE, float("inf"), float("nan")])
@pytest.mark.parametrize("name", METHODS)
def test_method_state_is_left_as_it_was(name, factor, mode):
    model = after_some_steps(name, mode)
    before = stored(model)
    step(model, factor)
    small_network.assert_same(stored(model), before)


@pytest.mark.parametrize("num_microbatches", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_the_step_is_plain_and_training_resumes(name, num_microbatches, mode):
    settings = {"num_microbatches": num_microbatches}
    model = after_some_steps(name, mode, **settings)
    plain = small_network.network(keras.Model)
    plain.compile(optimizer(), "mse", **mode)
    plain.set_weights(model.get_weights())
    step(model, HUGE)
    step(plain, HUGE)
    # A method of one pass has its gradient at w + e instead.
    if METHODS[name].method.needs_gradients:
        for actual, expected in zip(model.get_weights(), plain.get_weights()):
            # Each moves by 0.1 * 0.05, rounded once or twice.
            np.testing.assert_allclose(actual, expected, rtol=0, atol=2**-22)
    before = model.get_weights()
    step(model)
    for weight, old in zip(model.get_weights(), before):
        assert np.isfinite(weight).all()
        assert (weight != old).any()
