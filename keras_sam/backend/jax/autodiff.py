"""Gradients and control flow on arrays."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import keras
from jax import numpy as jnp

from keras_sam.backend import common
from keras_sam.types import Tensor
from keras_sam.types import Vector


def auxiliary_and_gradients(
    function: Callable[[], tuple[Tensor, Any]],
    open_at: Callable[[Vector], AbstractContextManager[None]],
    weights: Vector,
    wanted: list[int],
) -> tuple[Any, Vector]:
    """Evaluate a function of the weights and differentiate it.

    Args:
        function: Returns a scalar and anything else.
        open_at: Opens a scope in which variables read as given weights.
        weights: What they read as.
        wanted: Which weights to differentiate by.

    Returns:
        The function's other result, and one gradient for each wanted weight:
        zeros where the scalar does not depend on it, as for a plain model on
        JAX.
    """

    def of_wanted(sources: Vector) -> tuple[Tensor, Any]:
        point = list(weights)
        for i, source in zip(wanted, sources):
            point[i] = source
        with open_at(point):
            return function()

    if not wanted:
        return of_wanted([])[1], []
    gradients, auxiliary = jax.grad(of_wanted, has_aux=True)([
        weights[i] for i in wanted
    ])
    return auxiliary, gradients


def write_unlisted(pairs: list[tuple[keras.Variable, Tensor]]) -> None:
    """Drop them, as the train step of Keras does on JAX."""
    del pairs


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


def select(
    condition: Tensor,
    if_true: Callable[[], Any],
    if_false: Callable[[], Any],
) -> Any:
    """Return one of two nests; XLA selects along with what comes next."""
    return jax.tree.map(
        lambda a, b: jnp.where(condition, a, b), if_true(), if_false()
    )


def sum_in_turn(
    function: Callable[..., Any],
    state: list[Tensor],
    sizes: list[tuple[int, int, int]],
) -> tuple[Any, list[Tensor], Any]:
    """Do what `common.sum_in_turn` does, in one loop for each size.

    Args:
        function: See `common`.
        state: See `common`.
        sizes: See `common`.

    Returns:
        See `common`.
    """
    if not any(isinstance(t, jax.core.Tracer) for t in state):
        return common.sum_in_turn(function, state, sizes)
    carry: Any = None
    for start, size, count in sizes:
        # Traced once, for the shapes of its results and for the loop.
        part = jax.jit(functools.partial(function, size=size))
        if carry is None:
            shapes = jax.eval_shape(part, state, start)
            total, _, last = jax.tree.map(
                lambda t: jnp.zeros(t.shape, t.dtype), shapes
            )
            carry = (total, state, last)

        def body(carry: Any, start: Tensor, part: Any = part) -> Any:
            total, state, _ = carry
            summand, state, last = part(state, start)
            return (common.added(total, summand), state, last), None

        starts = start + size * jnp.arange(count)
        carry, _ = jax.lax.scan(body, carry, starts)
    return carry
