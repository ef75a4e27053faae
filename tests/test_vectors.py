"""Arithmetic on lists of tensors, at zero, at size zero and in every dtype."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
from keras import ops

from keras_sam import vectors
from tests import frameworks

# One rounding of each dtype, relative.
ROUNDING = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 2**-24}


def vector(*parts, dtype="float32"):
    return [ops.convert_to_tensor(part, dtype) for part in parts]


def numbers(tensors):
    return [ops.convert_to_numpy(ops.cast(t, "float64")) for t in tensors]


def assert_equal(actual, expected):
    for a, b in zip(numbers(actual), expected, strict=True):
        np.testing.assert_array_equal(a, np.asarray(b, "float64"))


MIXED = [
    ops.convert_to_tensor([1.0, 2.0], "float16"),
    ops.convert_to_tensor(4.0, "bfloat16"),
    ops.convert_to_tensor([[2.0], [0.0]], "float64"),
]
"""Rank one, zero and two, of norm sqrt(1 + 4 + 16 + 4) = 5."""

EMPTY = vector(np.zeros((0, 3)), np.zeros((0,)))


def test_add_keeps_the_dtypes_of_the_first():
    ones = vector([1.0, 1.0], 1.0, [[1.0], [1.0]])
    total = vectors.add(MIXED, ones)
    assert_equal(total, [[2, 3], 5, [[3], [1]]])
    assert [t.dtype for t in total] == [t.dtype for t in MIXED]
    assert vectors.add([], []) == []
    assert_equal(vectors.add(EMPTY, EMPTY), [np.zeros((0, 3)), []])


def test_subtract_keeps_the_dtypes_of_the_first():
    ones = vector([1.0, 1.0], 1.0, [[1.0], [1.0]])
    difference = vectors.subtract(MIXED, ones)
    assert_equal(difference, [[0, 1], 3, [[1], [-1]]])
    assert [t.dtype for t in difference] == [t.dtype for t in MIXED]
    assert vectors.subtract([], []) == []


def test_scale_keeps_dtypes_and_multiplies_in_float32():
    scaled = vectors.scale(0.5, MIXED)
    assert_equal(scaled, [[0.5, 1], 2, [[1], [0]]])
    assert [t.dtype for t in scaled] == [t.dtype for t in MIXED]
    assert vectors.scale(2.0, []) == []
    assert_equal(vectors.scale(2.0, EMPTY), [np.zeros((0, 3)), []])
    # 2^-20 is less than float16 holds but for a few bits, 2^-30 nothing.
    tiny = vectors.scale(2.0**-30, vector([2.0**15], dtype="float16"))
    assert_equal(tiny, [[2.0**-15]])


def test_multiply_is_elementwise():
    first, second = vector([1.0, 2.0], 3.0), vector([4.0, 0.0], -1.0)
    assert_equal(vectors.multiply(first, second), [[4, 0], -3])
    assert vectors.multiply([], []) == []


def test_interpolate():
    first, second = vector([4.0], 8.0), vector([0.0], -8.0)
    assert_equal(vectors.interpolate(0.25, first, second), [[1], -4])
    assert_equal(vectors.interpolate(1.0, first, second), [[4], 8])
    assert vectors.interpolate(0.5, [], []) == []


def test_dot_is_accumulated_over_all_tensors():
    assert float(vectors.dot(MIXED, MIXED)) == 25.0
    assert float(vectors.dot([], [])) == 0.0
    assert float(vectors.dot(EMPTY, EMPTY)) == 0.0
    assert float(vectors.dot(vector(-2.0), vector(3.0))) == -6.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dot_is_accumulated_in_float32(dtype):
    # A running sum of 4096 ones would stop at 2048 or at 256, and 300^2 is
    # larger than any float16.
    ones = vector(np.ones(4096), dtype=dtype)
    assert float(vectors.dot(ones, ones)) == 4096.0
    large = vector([300.0], dtype=dtype)
    assert float(vectors.dot(large, large)) == float(large[0][0]) ** 2


def test_dot_of_float64_is_accumulated_in_float64():
    with frameworks.float64():
        large = vector([1e200, 1e-9], dtype="float64")
        unit = vector([1e-200, 1.0], dtype="float64")
        assert float(vectors.dot(large, unit)) == 1.0 + 1e-9


def test_norm():
    assert float(vectors.norm(MIXED)) == 5.0
    assert float(vectors.norm(vector([0.0, 0.0], 0.0))) == 0.0
    assert float(vectors.norm([])) == 0.0
    assert float(vectors.norm(EMPTY)) == 0.0
    assert float(vectors.norm(vector(-3.0))) == 3.0


STRETCHES = [vectors.with_norm, vectors.with_norm_lazily]


@pytest.mark.parametrize("stretch", STRETCHES)
def test_with_norm(stretch):
    stretched = list(stretch(10.0, MIXED))
    assert_equal(stretched, [[2, 4], 8, [[4], [0]]])
    assert [t.dtype for t in stretched] == [t.dtype for t in MIXED]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_with_norm_of_zero_and_of_nothing_is_itself(dtype):
    zero = vector([0.0, 0.0], 0.0, dtype=dtype)
    assert_equal(vectors.with_norm(2.0, zero), [[0, 0], 0])
    empty = vector(np.zeros((0,)), dtype=dtype)
    assert_equal(vectors.with_norm(2.0, empty), [[]])
    assert vectors.with_norm(2.0, []) == []


def test_with_norm_zero_is_zero():
    assert_equal(vectors.with_norm(0.0, vector([3.0], 4.0)), [[0], 0])


@pytest.mark.parametrize("stretch", STRETCHES)
def test_with_norm_of_a_vector_whose_norm_overflows_is_zero(stretch):
    # Its square is beyond float32.
    assert_equal(list(stretch(2.0, vector([1e30, 1.0]))), [[0, 0]])


@pytest.mark.parametrize("stretch", STRETCHES)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_with_norm_of_a_vector_that_is_not_finite_is_zero(bad, dtype, stretch):
    bad_vector = vector([1.0, bad], 1.0, dtype=dtype)
    assert_equal(list(stretch(2.0, bad_vector)), [[0, 0], 0])
    weights = vector([1.0, 2.0], 3.0, dtype=dtype)
    assert_equal(vectors.add(weights, stretch(2.0, bad_vector)), [[1, 2], 3])


def test_orthogonal_part():
    first, direction = vector([3.0], 4.0), vector([0.0], 2.0)
    assert_equal(vectors.orthogonal(first, direction), [[3], 0])
    zero = vector([0.0], 0.0)
    assert_equal(vectors.orthogonal(first, zero), [[3], 4])
    assert_equal(vectors.orthogonal(zero, first), [[0], 0])
    assert vectors.orthogonal([], []) == []
    assert_equal(vectors.orthogonal(EMPTY, EMPTY), [np.zeros((0, 3)), []])


PARTS = strategies.lists(
    arrays.arrays(
        "float32",
        arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4),
        # 0, or far enough from the ends of float32 that a square is neither 0
        # nor infinite: with_norm treats shorter vectors as zero.
        elements=strategies.one_of(
            strategies.just(0.0),
            strategies.floats(2.0**-40, 2.0**40, width=32),
            strategies.floats(-(2.0**40), -(2.0**-40), width=32),
        ),
    ),
    max_size=3,
)
DTYPES = strategies.sampled_from(["float32", "float64"])


@settings(max_examples=100, deadline=None)
@given(parts=PARTS, length=strategies.floats(2.0**-10, 2.0**10), dtype=DTYPES)
def test_vector_with_a_norm_has_it(parts, length, dtype):
    result = vectors.with_norm(length, vector(*parts, dtype=dtype))
    if not any(np.any(part) for part in parts):
        length = 0.0
    # A sum of up to 48 squares, a root, a quotient, a product, and again a
    # sum and a root, in float32. A square below 2^-126 is lost; all are at
    # least 2^-180 of the largest, which is not.
    assert float(vectors.norm(result)) == pytest.approx(
        length, rel=100 * 2**-24
    )


@settings(max_examples=50, deadline=None)
@given(
    part=arrays.arrays(
        "float32", 5, elements=strategies.floats(0.25, 4.0, width=32)
    ),
    dtype=strategies.sampled_from(sorted(ROUNDING)),
)
def test_vector_with_a_norm_has_it_up_to_the_rounding_of_its_dtype(part, dtype):
    result = vectors.with_norm(2.0, vector(part, dtype=dtype))
    assert keras.backend.standardize_dtype(result[0].dtype) == dtype
    # Every element is rounded once to `dtype`; the rest is in float32.
    assert float(vectors.norm(result)) == pytest.approx(
        2.0, rel=ROUNDING[dtype] + 20 * 2**-24
    )
    assert math.isclose(float(vectors.norm(result)), 2.0, rel_tol=2**-7)
