"""Random branches have their distributions, forward and backward."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sam import networks
from keras_sam.engine.loss import run_pass

NUM_IMAGES = 4000
# Means of so many numbers from an interval of length at most 2 are off by more
# than five standard errors, 5 * 2 / sqrt(12) / sqrt(4000), once in 10^6 times.
CLOSE = 0.05


def values_and_gradients(function, number):
    """Return values and derivatives at ones, for `number` branches."""
    ones = [ops.ones((NUM_IMAGES, 2, 1)) for _ in range(number)]

    variables = [keras.Variable(one) for one in ones]

    def total():
        value = function([variable.value for variable in variables])
        return ops.sum(value), value

    result = run_pass(total, variables, ones, [], [], list(range(number)))
    for seed, state in result.unlisted:
        seed.assign(state)
    value, gradients = result.auxiliary, result.gradients
    return [ops.convert_to_numpy(t) for t in (value, *gradients)]


def test_shake_gate_mixes_by_one_number_forward_and_another_backward():
    gate = networks.ShakeGate(seed=0)

    def first_only(branches):
        return gate([branches[0], 0.0 * branches[1]], training=True)

    value, gradient, _ = values_and_gradients(first_only, 2)
    for numbers in (value, gradient):
        # One number for each image, uniform in [0, 1).
        np.testing.assert_array_equal(numbers[:, 0], numbers[:, 1])
        assert 0 <= numbers.min() < 0.01
        assert 0.99 < numbers.max() < 1
        assert abs(numbers.mean() - 0.5) < CLOSE
    assert abs(np.corrcoef(value[:, 0, 0], gradient[:, 0, 0])[0, 1]) < CLOSE


def test_shake_gate_weights_of_both_branches_sum_to_one():
    gate = networks.ShakeGate(seed=0)
    value, first, second = values_and_gradients(
        lambda b: gate(b, training=True), 2
    )
    # One rounding of float32 in each of four operations.
    np.testing.assert_allclose(value, 1, rtol=4 * 2**-24)
    np.testing.assert_allclose(first + second, 1, rtol=4 * 2**-24)


def test_shake_gate_is_the_mean_of_the_branches_after_training():
    branches = [ops.full((3, 2), 2.0), ops.full((3, 2), 4.0)]
    value = ops.convert_to_numpy(networks.ShakeGate()(branches))
    np.testing.assert_array_equal(value, 3.0)


def test_shake_drop_keeps_or_shakes_each_image():
    layer = networks.ShakeDrop(0.7, seed=0)
    value, gradient = values_and_gradients(
        lambda b: layer(b[0], training=True), 1
    )
    kept = np.isclose(value[:, 0, 0], 1, atol=2**-22)
    assert abs(kept.mean() - 0.7) < CLOSE
    # Up to rounding, the gradient is kept wherever the forward pass is.
    np.testing.assert_allclose(gradient[kept], 1, rtol=2**-22)
    shaken, backward = value[~kept, 0, 0], gradient[~kept, 0, 0]
    assert shaken.min() < -0.95
    assert abs(shaken.mean()) < 2 * CLOSE  # of 0.3 * NUM_IMAGES numbers
    assert 0 <= backward.min() < 0.05
    assert abs(backward.mean() - 0.5) < CLOSE


def test_shake_drop_multiplies_by_its_mean_after_training():
    value = networks.ShakeDrop(0.7)(ops.ones((3, 2)))
    np.testing.assert_allclose(ops.convert_to_numpy(value), 0.7, rtol=2**-23)


def test_shake_drop_of_an_invalid_probability_is_refused():
    with pytest.raises(
        ValueError, match=r"`survival` must be a number in.*=1\.5"
    ):
        networks.ShakeDrop(1.5)


@pytest.mark.parametrize(
    "layer", [networks.ShakeGate(seed=3), networks.ShakeDrop(0.4, seed=3)]
)
def test_layer_is_restored_from_its_configuration(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    x = ops.ones((5, 2))
    x = [x, 2 * x] if isinstance(layer, networks.ShakeGate) else x
    first, second = (
        ops.convert_to_numpy(made(x, training=True))
        for made in (type(layer).from_config(layer.get_config()), again)
    )
    np.testing.assert_array_equal(first, second)
    assert keras.tree.flatten(first)
