"""Arithmetic on vectors: lists of tensors, one per variable.

Sums over elements are accumulated in float32, or in float64 where a tensor is
float64. A square below about 1e-38 is zero there, so a vector whose norm is
below about 1e-19 counts as the zero vector.
"""

import math

from keras import ops

from keras_sam.backend import add
from keras_sam.backend import dot
from keras_sam.backend import scale
from keras_sam.backend import scale_lazily
from keras_sam.backend import subtract
from keras_sam.types import Tensor
from keras_sam.types import Vector


def mix(share: Tensor, first: Vector, second: Vector) -> Vector:
    """Return `share * first + (1 - share) * second`, in `first`'s dtypes."""
    return add(scale(share, first), scale(1 - share, second))


def quotient(vector: Vector, direction: Vector) -> Tensor:
    """Return how much of `direction` is in `vector`, 0 if it is zero."""
    square = dot(direction, direction)
    is_zero = square == 0
    return dot(vector, direction) / ops.where(is_zero, 1.0, square)


def orthogonal(vector: Vector, direction: Vector) -> Vector:
    """Return the part of `vector` orthogonal to `direction`.

    All of `vector` where `direction` is zero.
    """
    return subtract(vector, scale(quotient(vector, direction), direction))


def multiply(first: Vector, second: Vector) -> Vector:
    """Return the elementwise product."""
    return [a * b for a, b in zip(first, second)]


def norm(vector: Vector) -> Tensor:
    """Return the Euclidean norm over all elements of all tensors, a scalar."""
    return ops.sqrt(dot(vector, vector))


def with_norm(length: Tensor, vector: Vector) -> Vector:
    """Return the vector of norm `length` in the direction of `vector`.

    The zero vector stays zero. A vector with a non-finite element, or whose
    norm overflows, gives non-finite elements, so that nobody mistakes it for a
    small one.
    """
    return scale(_factor(length, vector), vector)


def along(length: Tensor, vector: Vector) -> Vector:
    """Return `with_norm(length, vector)`, to be added to the weights.

    With PyTorch the elements are computed each time that they are looked at.
    """
    return scale_lazily(_factor(length, vector), vector)


def _factor(length: Tensor, vector: Vector) -> Tensor:
    size = norm(vector)
    is_zero = size == 0
    length = ops.convert_to_tensor(length, size.dtype)
    quotient = length / ops.where(is_zero, 1.0, size)
    quotient = ops.where(ops.isfinite(size), quotient, math.nan)
    return ops.where(is_zero, 0.0, quotient)
