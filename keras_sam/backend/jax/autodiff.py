"""Gradients and control flow on arrays."""

from collections.abc import Callable
from typing import Any

import jax
import keras
from jax import numpy as jnp

from keras_sam.types import Tensor
from keras_sam.types import Vector


def read(variable: keras.Variable) -> Tensor:
    """Return the value of a variable as an array."""
    return variable.value


def value_and_gradients(
    function: Callable[[Vector], tuple[Tensor, Any]],
    weights: Vector,
    wanted: list[int],
) -> tuple[Tensor, Any, Vector]:
    """Evaluate a function of the weights and differentiate it.

    Args:
        function: Takes weights, returns a scalar and anything else.
        weights: Arrays.
        wanted: Which weights to differentiate by.

    Returns:
        The scalar, the function's other result, and one gradient per wanted
        weight: zeros where the scalar does not depend on it, as for a plain
        model on JAX.
    """

    def of_wanted(sources: Vector) -> tuple[Tensor, Any]:
        point = list(weights)
        for i, source in zip(wanted, sources):
            point[i] = source
        return function(point)

    (value, auxiliary), gradients = jax.value_and_grad(
        of_wanted, has_aux=True
    )([weights[i] for i in wanted])
    return value, auxiliary, gradients


def densify(gradient: Tensor) -> Tensor:
    """Return a gradient as an array, which on JAX it is."""
    return gradient


def num_replicas() -> int:
    """Return 1: a step sees the global batch, on however many devices."""
    return 1


def mean_over_replicas(nest: Any) -> Any:
    """Return the arrays: there is one step for all devices."""
    return nest


def cond(
    condition: Tensor,
    if_true: Callable[[], Any],
    if_false: Callable[[], Any],
) -> Any:
    """Return the result of one of two functions.

    A known condition decides at once, so that eager steps compile nothing.
    """
    if isinstance(condition, jax.core.Tracer):
        return jax.lax.cond(condition, if_true, if_false)
    return if_true() if condition else if_false()


def draw_purely(function: Callable[[], Any]) -> Any:
    """Return what a function returns: seeds are variables of Keras."""
    return function()


def traced_once(function: Callable[..., Any]) -> Any:
    """Return the function; `scan` traces it once for each size of parts."""
    return function


def shared_size(size: Tensor) -> Tensor:
    """Return the size of parts, an integer: shapes are known on JAX."""
    return size


def scan(
    function: Any,
    carry: Any,
    start: Tensor,
    size: Tensor,
    count: Tensor,
    num_rows: Tensor,
    like: Any = None,
) -> tuple[Any, Any]:
    """Call a function on consecutive parts of the same size.

    That is, `carry, output = function(carry, start + i * size, size)` for i
    from 0 to `count - 1`.

    Args:
        function: Keeps the structure, shapes and dtypes of `carry`. Returns a
            new carry and a nest of arrays of shape `(num_rows, ...)`.
        carry: Nest of arrays.
        start: Integer, where the first part starts.
        size: Integer, the size of each part.
        count: Integer >= 1.
        num_rows: Not used: the outputs have their shapes.
        like: Not used.

    Returns:
        The last carry, and the outputs of shape `(count * num_rows, ...)`.
    """
    del num_rows, like
    if not any(isinstance(t, jax.core.Tracer) for t in jax.tree.leaves(carry)):
        outputs = []
        for i in range(count):
            carry, output = function(carry, start + i * size, size)
            outputs.append(output)
        return carry, jax.tree.map(lambda *t: jnp.concatenate(t), *outputs)

    def body(carry: Any, i: Tensor) -> tuple[Any, Any]:
        return function(carry, start + i * size, size)

    carry, outputs = jax.lax.scan(body, carry, jnp.arange(count))
    return carry, jax.tree.map(
        lambda t: jnp.reshape(t, (-1, *t.shape[2:])), outputs
    )
