"""The correction that decoupled WeightedSAM subtracts past the optimizer."""

import keras
import numpy as np
import pytest
from keras.optimizers.schedules import PolynomialDecay

import keras_sam
from keras_sam import methods
from tests import marks
from tests import small_network
from tests.methods.table import METHODS
from tests.small_network import assert_close

GAMMA = 0.8
RHO = 0.1
RATE = 0.1
NUM_STEPS = 6


def rate(t):
    return RATE * (1 - t / (NUM_STEPS + 2))


def loss_scaled(schedule):
    return keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(schedule), initial_scale=2.0**10
    )


@pytest.mark.parametrize("make", [keras.optimizers.SGD, loss_scaled])
@pytest.mark.parametrize("mode", marks.EAGER_AND_GRAPH)
def test_each_step_has_its_own_learning_rate(make, mode):
    schedule = PolynomialDecay(RATE, NUM_STEPS + 2, 0.0)
    model = small_network.of_method(
        "weighted_sam", mode, optimizer=make(schedule)
    )
    row = METHODS["weighted_sam"]
    steps = small_network.reference_steps(
        model, row.formula, row.rho, learning_rate=rate
    )
    small_network.assert_same_training(model, steps)


@pytest.mark.parametrize("mode", marks.EAGER_AND_GRAPH)
def test_constraints_hold_after_the_correction(mode):
    inputs = keras.Input((3,))
    layer = keras.layers.Dense(8, kernel_constraint="non_neg")
    model = keras_sam.SAMModel(
        inputs,
        keras.layers.Dense(1)(layer(inputs)),
        method=methods.WeightedSAM(gamma=0.9),
        rho=1.0,
    )
    model.compile(keras.optimizers.SGD(0.1), "mse", **mode)
    x, y, _ = small_network.examples(5)
    for _ in range(3):
        model.train_on_batch(x, y)
        kernel = layer.kernel.numpy()
        assert np.min(kernel) == 0.0
    assert np.max(kernel) > 0.0


def test_accumulated_steps_add_up_to_one():
    # Two accumulated steps on the same batch, each of half the size. The second
    # takes its gradients after the first half of the correction, so the two
    # runs differ by the square of a step of length 1e-3.
    x, y, _ = small_network.examples(5)
    after = []
    for count in (1, 2):
        model = small_network.compiled(
            optimizer=keras.optimizers.SGD(
                1e-3,
                gradient_accumulation_steps=None if count == 1 else count,
            ),
            method=methods.WeightedSAM(gamma=GAMMA),
            rho=RHO,
        )
        before = small_network.flat(model.get_weights())
        for _ in range(count):
            model.train_on_batch(x, y)
        after.append(small_network.flat(model.get_weights()) - before)
    # That is a relative change of the order of the step.
    np.testing.assert_allclose(
        after[1], after[0], rtol=0, atol=1e-2 * np.max(np.abs(after[0]))
    )


def test_weights_that_are_not_perturbed_are_corrected_too():
    # h - g is not zero there either. Without momentum decoupled is coupled.
    after = []
    for decoupled in (True, False):
        model = small_network.compiled(
            method=methods.WeightedSAM(gamma=GAMMA, decoupled=decoupled),
            rho=RHO,
            perturb=lambda variable: "output" in variable.path,
        )
        after.append(small_network.fit(model).weights)
    assert_close(*after)
