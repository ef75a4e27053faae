"""Normal numbers that follow from a seed and a count."""

import itertools
from unittest import mock

import keras
import numpy as np
import pytest
from keras import ops

from keras_sam import backend

SEEDS = COUNTS = range(3)


def draws(seed, count):
    tensors = [np.zeros((4, 3), "float32"), np.zeros((4, 3), "float32")]
    drawn = backend.normal_like(tensors, seed, ops.convert_to_tensor(count))
    return [ops.convert_to_numpy(tensor) for tensor in drawn]


def test_seeds_have_the_dtype_of_a_generator():
    given = []

    def record(*arguments, seed, **options):
        given.append(seed.next())
        return np.zeros(1)

    with mock.patch.object(keras.random, "normal", record):
        draws(0, 0.0)
    expected = keras.random.SeedGenerator(0).next().dtype
    assert {seed.dtype for seed in given} == {expected}


def test_equal_arguments_give_equal_numbers():
    for first, second in zip(draws(2, 1.0), draws(2, 1.0)):
        np.testing.assert_array_equal(first, second)


def test_each_tensor_of_each_seed_and_count_has_numbers_of_its_own():
    """A seed with a count must not be another seed with a later one."""
    all_drawn = [
        tensor.tobytes()
        for seed, count in itertools.product(SEEDS, COUNTS)
        for tensor in draws(seed, float(count))
    ]
    assert len(set(all_drawn)) == 2 * len(SEEDS) * len(COUNTS)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_numbers_have_the_dtype_and_are_standard_normal(dtype):
    (drawn,) = backend.normal_like(
        [np.zeros((200, 200), dtype)], 0, ops.convert_to_tensor(0.0)
    )
    drawn = ops.convert_to_numpy(drawn)
    assert drawn.dtype == dtype
    # Four standard deviations of the mean and variance of 40,000 numbers.
    drawn = drawn.astype("float64")
    assert abs(drawn.mean()) < 4 / 200
    assert abs(drawn.var() - 1) < 4 * 2**0.5 / 200
