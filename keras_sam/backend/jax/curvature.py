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


def gauss_newton_product(
    network: Callable[[Vector], tuple[Any, Any]],
    loss: Callable[[Any, Any], Tensor],
    weights: Vector,
    direction: Vector,
) -> Vector:
    """Return J^T H J times a direction.

    Args:
        network: Returns predictions, and anything else that the loss needs.
        loss: Takes these.
        weights: Where J, the derivative of the predictions, and H, the
            Hessian of the loss by the predictions, are taken.
        direction: Vector.

    Returns:
        A vector.
    """
    predictions, back, auxiliary = jax.vjp(network, weights, has_aux=True)
    # J^T u is linear in u, and the transpose of that is J. Forward mode would
    # be as fast, but there is none where a layer has a gradient of its own.
    (change,) = jax.vjp(lambda u: back(u)[0], predictions)[1](direction)
    bend = hessian_product(lambda p: loss(p, auxiliary), predictions, change)
    return back(bend)[0]
