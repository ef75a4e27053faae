"""Arithmetic of vectors in few operations.

Each operation of a graph takes time when it is traced, and its result memory
when it is run; `keras.ops` makes three to five of one.
"""

import tensorflow as tf

from keras_sam.types import Tensor
from keras_sam.types import Vector


def scale_or_zero(factor: Tensor, vector: Vector) -> Vector:
    """Return `factor * vector`, zero if the factor is, whatever the vector."""
    return [
        tf.cast(
            tf.math.multiply_no_nan(wide, tf.cast(factor, wide.dtype)), t.dtype
        )
        for wide, t in zip(_wide(vector), vector)
    ]


scale_lazily = scale_or_zero
"""A compiler does the addition that follows in the same operation."""


def dot(first: Vector, second: Vector) -> Tensor:
    """Return the inner product, a scalar; 0 for empty vectors."""
    if not first:
        return tf.zeros((), "float32")
    first, second = _wide(first), _wide(second)
    if all(a is b for a, b in zip(first, second)):
        # Half of a sum of squares, without a tensor of squares.
        return 2 * _sum([tf.nn.l2_loss(tensor) for tensor in first])
    return _sum([
        tf.reduce_sum(a * tf.cast(b, a.dtype)) for a, b in zip(first, second)
    ])


def _sum(numbers: list[Tensor]) -> Tensor:
    widest = max((t.dtype for t in numbers), key=lambda dtype: dtype.size)
    return tf.add_n([tf.cast(t, widest) for t in numbers])


def _wide(vector: Vector) -> Vector:
    """Return a vector in the dtypes that sums are accumulated in."""
    return [
        t if t.dtype.size >= tf.float32.size else tf.cast(t, "float32")
        for t in vector
    ]
