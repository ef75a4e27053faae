"""Element-wise arithmetic and inner products of vectors, in `keras.ops`."""

import functools

import keras
from keras import ops

from keras_sam.types import Tensor
from keras_sam.types import Vector


def add(first: Vector, second: Vector) -> Vector:
    """Return the sum, in the dtypes of `first`."""
    return [a + ops.cast(b, a.dtype) for a, b in zip(first, second)]


def subtract(first: Vector, second: Vector) -> Vector:
    """Return the difference, in the dtypes of `first`."""
    return [a - ops.cast(b, a.dtype) for a, b in zip(first, second)]


def scale(factor: Tensor, vector: Vector) -> Vector:
    """Return `factor * vector`, multiplied in the accumulation dtype."""
    wide = [_accumulable(t) for t in vector]
    return [
        ops.cast(w * ops.convert_to_tensor(factor, w.dtype), t.dtype)
        for w, t in zip(wide, vector)
    ]


def scale_or_zero(factor: Tensor, vector: Vector) -> Vector:
    """Return `factor * vector`, zero if the factor is, whatever the vector.

    A product would be NaN where the vector is infinite.
    """
    return [
        ops.where(ops.equal(factor, 0), ops.zeros_like(t), product)
        for t, product in zip(vector, scale(factor, vector))
    ]


scale_lazily = scale_or_zero
"""For what is to be added: a compiler does both in one operation."""


def dot(first: Vector, second: Vector) -> Tensor:
    """Return the inner product, a scalar; 0 for empty vectors."""
    sums = (
        ops.sum(ops.multiply(_accumulable(a), _accumulable(b)))
        for a, b in zip(first, second)
    )
    return functools.reduce(ops.add, sums, ops.zeros((), "float32"))


def _accumulable(tensor: Tensor) -> Tensor:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype in ("float16", "bfloat16"):
        return ops.cast(tensor, "float32")
    return tensor
