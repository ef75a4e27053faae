"""Several optimizers in one: schedules of the radius, and corrections."""

import keras
import numpy as np
import pytest
from keras import optimizers

import keras_sam
from keras_sam import schedules
from tests import cases
from tests.contract.twins import copy_state
from tests.contract.twins import normal
from tests.contract.twins import values
from tests.methods.table import NAMES

X, Y = normal(8, 4), normal(8, 1)


def network(optimizer, **settings):
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, activation="tanh", name="hidden")(inputs)
    outputs = keras.layers.Dense(1, name="out")(hidden)
    model = keras_sam.SAMModel(inputs, outputs, **settings)
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


def multiple(hidden, out):
    return optimizers.MultiOptimizer(
        optimizers.OptimizerMap(out, {"hidden/.*": hidden})
    )


if cases.IS_NEWER_KERAS:  # The oldest has no `MultiOptimizer`.

    @pytest.mark.parametrize("method", NAMES)
    @pytest.mark.parametrize("scaled", [False, True])
    def test_each_variable_takes_the_step_of_its_own_optimizer(method, scaled):
        """With two rates of SGD: that of one whose rate is the one or other."""
        first, second = (
            network(optimizers.SGD(rate), method=method) for rate in (0.1, 0.3)
        )
        both = multiple(optimizers.SGD(0.1), optimizers.SGD(0.3))
        if scaled:
            both = optimizers.LossScaleOptimizer(both, initial_scale=2.0)
        model = network(both, method=method)
        for other in (second, model):
            copy_state(first, other)
        for one in (first, second, model):
            one.train_on_batch(X, Y)
        expected = values(first.weights)[:2] + values(second.weights)[2:]
        for actual, value in zip(values(model.weights), expected, strict=True):
            # Scaled by a power of two; a few float32 operations.
            np.testing.assert_allclose(actual, value, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize(
        "rho",
        [
            schedules.Warmup(1, 0.1),
            schedules.Periodic(2, 0.1),
            schedules.LatePhase(1, 0.1),
            optimizers.schedules.CosineDecay(0.1, 10),
        ],
    )
    def test_the_radius_follows_a_schedule_of_the_iteration(rho):
        model = network(multiple(optimizers.Adam(), optimizers.SGD()), rho=rho)
        logs = model.fit(X, Y, batch_size=2, verbose=0).history
        assert logs["sharpness"][0] > 0

    @pytest.mark.parametrize("nested", [False, True])
    def test_the_radius_cannot_follow_several_learning_rates(nested):
        rho = schedules.ProportionalToLearningRate(0.1, 0.1)
        rho = schedules.LatePhase(0, rho) if nested else rho
        model = network(multiple(optimizers.Adam(), optimizers.SGD()), rho=rho)
        before = values(model.variables)
        with pytest.raises(ValueError, match="an optimizer that has several"):
            model.fit(X, Y, verbose=0)
        for actual, value in zip(values(model.variables), before):
            np.testing.assert_array_equal(actual, value)
