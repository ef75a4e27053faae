"""Products of a direction with second derivatives, forward over reverse.

Where a gradient of a layer's own making uses another one, JAX has no forward
mode for it; then they are reverse over reverse, which can take twice as long.
"""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import Jaxpr
from jax.extend.core import Primitive
from jax.extend.core import jaxpr_as_fun
from jax.extend.core import jaxprs_in_params
from jax.extend.core.primitives import custom_lin_p

from keras_sam.types import Tensor
from keras_sam.types import Vector


def compiled(function: Callable[..., Any], jit_compile: bool) -> Any:
    """Return a function of nests of tensors, compiled once for their shapes."""
    return jax.jit(function) if jit_compile else function


def gradient(
    function: Callable[[Vector], Tensor], weights: Vector
) -> tuple[Tensor, Vector]:
    """Return the value and the dense gradient."""
    return jax.value_and_grad(function)(weights)


def hessian_product(
    function: Callable[[Vector], Tensor], weights: Vector, direction: Vector
) -> Vector:
    """Return the Hessian of `function` at `weights` times a direction."""
    first = jax.grad(function)
    traced = jax.make_jaxpr(lambda w, d: jax.jvp(first, (w,), (d,))[1])(
        weights, direction
    )
    # JAX traces what has no forward mode as this, and refuses to compile it.
    if custom_lin_p in _primitives(traced.jaxpr):
        return jax.vjp(first, weights)[1](direction)[0]
    leaves = jax.tree.leaves((weights, direction))
    found = jaxpr_as_fun(traced)(*leaves)
    return jax.tree.unflatten(jax.tree.structure(weights), found)


def _primitives(jaxpr: Jaxpr) -> Iterator[Primitive]:
    """Yield the primitives of a program and of all programs in it."""
    for equation in jaxpr.eqns:
        yield equation.primitive
        for inner in jaxprs_in_params(equation.params):
            yield from _primitives(inner)


def linearized(
    network: Callable[[Vector], tuple[Vector, Any]],
    weights: Vector,
    direction: Vector,
) -> tuple[Vector, Any, Vector, Callable[[Vector], Vector]]:
    """Return what a network returns, J times a direction, and u -> J^T u.

    J is the derivative of its first result, the list of predictions.
    """
    predictions, pull_back, auxiliary = jax.vjp(network, weights, has_aux=True)
    # J^T u is linear in u, and the transpose of that is J. Forward mode would
    # be as fast, but there is none where a layer has a gradient of its own.
    transposed = jax.vjp(lambda u: pull_back(u)[0], predictions)[1]
    (change,) = transposed(direction)
    return predictions, auxiliary, change, lambda u: pull_back(u)[0]
