"""Arithmetic on vectors: lists of tensors, one per variable.

Sums over elements are accumulated in float32, or in float64 where a tensor is
float64. A square below about 1e-38 is zero there, so a vector whose norm is
below about 1e-19 counts as the zero vector. The twin on JAX is
`optax.tree_utils`.
"""

from keras import ops

from keras_sam import backend
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


def add(first: Vector, second: Vector) -> Vector:
    """Return the sum, in the dtypes of `first`.

    Example:
    >>> first, second = [ops.array([3.0, 4.0])], [ops.array([1.0, 0.5])]
    >>> [total] = keras_sam.vectors.add(first, second)
    >>> print(ops.convert_to_numpy(total))
    [4.  4.5]
    """
    return backend.add(first, second)


def subtract(first: Vector, second: Vector) -> Vector:
    """Return the difference, in the dtypes of `first`.

    Example:
    >>> first, second = [ops.array([3.0, 4.0])], [ops.array([1.0, 0.5])]
    >>> [difference] = keras_sam.vectors.subtract(first, second)
    >>> print(ops.convert_to_numpy(difference))
    [2.  3.5]
    """
    return backend.subtract(first, second)


def multiply(first: Vector, second: Vector) -> Vector:
    """Return the elementwise product.

    Example:
    >>> first, second = [ops.array([3.0, 4.0])], [ops.array([1.0, 0.5])]
    >>> [product] = keras_sam.vectors.multiply(first, second)
    >>> print(ops.convert_to_numpy(product))
    [3. 2.]
    """
    return [a * b for a, b in zip(first, second)]


def scale(factor: Tensor, vector: Vector) -> Vector:
    """Return `factor * vector`, multiplied in the accumulation dtype.

    Example:
    >>> [scaled] = keras_sam.vectors.scale(0.5, [ops.array([3.0, 4.0])])
    >>> print(ops.convert_to_numpy(scaled))
    [1.5 2. ]
    """
    return backend.scale(factor, vector)


def scale_or_zero(factor: Tensor, vector: Vector) -> Vector:
    """Return `factor * vector`, zero if the factor is, whatever the vector.

    The factor is a tensor. A product would be NaN where the vector is infinite.

    Example:
    >>> vector, zero = [ops.array([3.0, np.inf])], ops.array(0.0)
    >>> [scaled] = keras_sam.vectors.scale_or_zero(zero, vector)
    >>> print(ops.convert_to_numpy(scaled))
    [0. 0.]
    """
    return backend.scale_or_zero(factor, vector)


def scale_lazily(factor: Tensor, vector: Vector) -> Vector:
    """Return `scale_or_zero(factor, vector)`, to be added to the weights.

    With PyTorch the elements are computed whenever they are read.

    Example:
    >>> weights, step = [ops.array([1.0, 1.0])], [ops.array([3.0, 4.0])]
    >>> scaled = keras_sam.vectors.scale_lazily(ops.array(0.5), step)
    >>> [moved] = keras_sam.vectors.add(weights, scaled)
    >>> print(ops.convert_to_numpy(moved))
    [2.5 3. ]
    """
    return backend.scale_lazily(factor, vector)


def dot(first: Vector, second: Vector) -> Tensor:
    """Return the inner product, a scalar; 0 for empty vectors.

    Example:
    >>> first = [ops.array([1.0, 2.0]), ops.array(3.0)]
    >>> second = [ops.array([10.0, 1.0]), ops.array(2.0)]
    >>> float(keras_sam.vectors.dot(first, second))
    18.0
    """
    return backend.dot(first, second)


def interpolate(weight: Tensor, first: Vector, second: Vector) -> Vector:
    """Return `weight * first + (1 - weight) * second`, in `first`'s dtypes.

    Example:
    >>> first, second = [ops.array([1.0, 0.0])], [ops.array([0.0, 1.0])]
    >>> [mean] = keras_sam.vectors.interpolate(0.75, first, second)
    >>> print(ops.convert_to_numpy(mean))
    [0.75 0.25]
    """
    return add(scale(weight, first), scale(1 - weight, second))


def projection_coefficient(vector: Vector, direction: Vector) -> Tensor:
    """Return the c for which `c * direction` is the projection of `vector`.

    0 if the length of `direction` is zero or not finite.

    Example:
    >>> vector, direction = [ops.array([3.0, 4.0])], [ops.array([2.0, 0.0])]
    >>> float(keras_sam.vectors.projection_coefficient(vector, direction))
    1.5
    """
    square = dot(direction, direction)
    has_length = ops.logical_and(square > 0, ops.isfinite(square))
    product = dot(vector, direction) / ops.where(has_length, square, 1.0)
    return ops.where(has_length, product, 0.0)


def orthogonal(vector: Vector, direction: Vector) -> Vector:
    """Return the part of `vector` orthogonal to `direction`.

    All of `vector` if the length of `direction` is zero or not finite.

    Example:
    >>> vector, direction = [ops.array([3.0, 4.0])], [ops.array([2.0, 0.0])]
    >>> [rest] = keras_sam.vectors.orthogonal(vector, direction)
    >>> print(ops.convert_to_numpy(rest))
    [0. 4.]
    """
    coefficient = projection_coefficient(vector, direction)
    return subtract(vector, scale_or_zero(coefficient, direction))


def norm(vector: Vector) -> Tensor:
    """Return the Euclidean norm over all elements of all tensors, a scalar.

    Example:
    >>> vector = [ops.convert_to_tensor([3.0]), ops.convert_to_tensor([4.0])]
    >>> float(keras_sam.vectors.norm(vector))
    5.0
    """
    return ops.sqrt(dot(vector, vector))


def with_norm(length: Tensor, vector: Vector) -> Vector:
    """Return the vector of norm `length` in the direction of `vector`.

    Zero if the length of `vector` is zero or not finite: a gradient whose norm
    overflows perturbs nothing.

    Example:
    >>> vector = [ops.convert_to_tensor([3.0]), ops.convert_to_tensor([4.0])]
    >>> moved = keras_sam.vectors.with_norm(0.5, vector)
    >>> [round(float(tensor[0]), 3) for tensor in moved]
    [0.3, 0.4]
    """
    return scale_or_zero(_factor(length, vector), vector)


def with_norm_lazily(length: Tensor, vector: Vector) -> Vector:
    """Return `with_norm(length, vector)`, to be added to the weights.

    With PyTorch the elements are computed whenever they are read.

    Example:
    >>> gradients, weights = [ops.array([3.0, 4.0])], [ops.array([1.0, 1.0])]
    >>> e = keras_sam.vectors.with_norm_lazily(0.5, gradients)
    >>> [perturbed] = keras_sam.vectors.add(weights, e)
    >>> print(ops.convert_to_numpy(perturbed).round(3))
    [1.3 1.4]
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
