"""Arithmetic on vectors: lists of tensors, one per variable.

Sums over elements are accumulated in float32, or in float64 where a tensor is
float64. A square below about 1e-38 is zero there, so a vector whose norm is
below about 1e-19 counts as the zero vector. The twin on JAX is
`optax.tree_utils`.
"""

from keras import ops

from keras_sam.backend import add
from keras_sam.backend import dot
from keras_sam.backend import scale
from keras_sam.backend import scale_lazily
from keras_sam.backend import scale_or_zero
from keras_sam.backend import subtract
from keras_sam.types import Tensor
from keras_sam.types import Vector

__all__ = [
    "add",
    "dot",
    "interpolate",
    "multiply",
    "norm",
    "orthogonal",
    "projection_coefficient",
    "scale",
    "scale_lazily",
    "scale_or_zero",
    "subtract",
    "with_norm",
    "with_norm_lazily",
]


def interpolate(weight: Tensor, first: Vector, second: Vector) -> Vector:
    """Return `weight * first + (1 - weight) * second`, in `first`'s dtypes."""
    return add(scale(weight, first), scale(1 - weight, second))


def projection_coefficient(vector: Vector, direction: Vector) -> Tensor:
    """Return the c for which `c * direction` is the projection of `vector`.

    0 if the length of `direction` is zero or not finite.
    """
    square = dot(direction, direction)
    has_length = ops.logical_and(square > 0, ops.isfinite(square))
    product = dot(vector, direction) / ops.where(has_length, square, 1.0)
    return ops.where(has_length, product, 0.0)


def orthogonal(vector: Vector, direction: Vector) -> Vector:
    """Return the part of `vector` orthogonal to `direction`.

    All of `vector` if the length of `direction` is zero or not finite.
    """
    coefficient = projection_coefficient(vector, direction)
    return subtract(vector, scale_or_zero(coefficient, direction))


def multiply(first: Vector, second: Vector) -> Vector:
    """Return the elementwise product."""
    return [a * b for a, b in zip(first, second)]


def norm(vector: Vector) -> Tensor:
    """Return the Euclidean norm over all elements of all tensors, a scalar."""
    return ops.sqrt(dot(vector, vector))


def with_norm(length: Tensor, vector: Vector) -> Vector:
    """Return the vector of norm `length` in the direction of `vector`.

    Zero if the length of `vector` is zero or not finite: a gradient whose norm
    overflows perturbs nothing.
    """
    return scale_or_zero(_factor(length, vector), vector)


def with_norm_lazily(length: Tensor, vector: Vector) -> Vector:
    """Return `with_norm(length, vector)`, to be added to the weights.

    With PyTorch the elements are computed whenever they are read.
    """
    return scale_lazily(_factor(length, vector), vector)


def _factor(length: Tensor, vector: Vector) -> Tensor:
    size = norm(vector)
    has_length = ops.logical_and(size > 0, ops.isfinite(size))
    length = ops.convert_to_tensor(length, size.dtype)
    # `where` computes both branches: a division by zero in the one that is not
    # taken would still make the derivative NaN, and warn.
    factor = length / ops.where(has_length, size, 1.0)
    return ops.where(has_length, factor, 0.0)
