"""Products of a direction with second derivatives, reverse over reverse."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from keras_sam.backend.torch.random import generator_states
from keras_sam.types import Tensor
from keras_sam.types import Vector


def compiled(function: Callable[..., Any], jit_compile: bool) -> Any:
    """Return the function, which runs eagerly and keeps no graph after it."""
    del jit_compile
    return torch.no_grad()(function)


def gradient(
    function: Callable[[Vector], Tensor], weights: Vector
) -> tuple[Tensor, Vector]:
    """Return the value and the dense gradient, zero where it is `None`."""
    sources = _sources(weights)
    with torch.enable_grad():
        value = function(sources)
        return value.detach(), _gradients(value, sources)


def hessian_product(
    function: Callable[[Vector], Tensor], weights: Vector, direction: Vector
) -> Vector:
    """Return the Hessian of `function` at `weights` times a direction."""
    sources = _sources(weights)
    with torch.enable_grad():
        with _TwiceDifferentiableAttention():
            value = function(sources)
        first = _gradients(value, sources, create_graph=True)
        return _gradients(first, sources, direction)


def linearized(
    network: Callable[[Vector], tuple[Vector, Any]],
    weights: Vector,
    direction: Vector,
) -> tuple[Vector, Any, Vector, Callable[[Vector], Vector]]:
    """Return what a network returns, J times a direction, and u -> J^T u.

    J is the derivative of its first result, the list of predictions.
    """
    sources = _sources(weights)
    with torch.enable_grad():
        with _TwiceDifferentiableAttention():
            predictions, auxiliary = network(sources)
        # J^T u is linear in u, and its derivative by u is J.
        dummies = [torch.zeros_like(p).requires_grad_() for p in predictions]
        back = _gradients(predictions, sources, dummies, create_graph=True)
        change = _gradients(back, dummies, direction, retain_graph=True)

    def pull_back(upstream: Vector) -> Vector:
        return _gradients(predictions, sources, upstream)

    return predictions, auxiliary, change, pull_back


class _TwiceDifferentiableAttention(TorchFunctionMode):
    """Computes attention by the one kernel with a second derivative.

    `sdpa_kernel` selects this kernel for the whole process; a mode is seen by
    the thread alone that enters it.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """Return what `scaled_dot_product_attention` does."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # The kernel itself adds the mask to the logits.
        zeros = torch.zeros_like(attn_mask, dtype=query.dtype)
        attn_mask = zeros.masked_fill(~attn_mask, -torch.inf)
    kernel = torch.ops.aten._scaled_dot_product_attention_math
    return kernel(query, key, value, attn_mask, *args, **kwargs)[0]


class ReportedDraws(TorchFunctionMode):
    """Assigns the states of PyTorch's generators where they change.

    To the scope around it an operation that draws is then like one that
    advances a seed of Keras.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        generators = generator_states()
        before = [generator.get() for generator in generators]
        result = function(*args, **(kwargs or {}))
        for generator, state in zip(generators, before):
            if not torch.equal(generator.get(), state):
                generator.assign(generator.get())
        return result


def _sources(weights: Vector) -> Vector:
    return [w.detach().requires_grad_() for w in weights]


def _gradients(
    outputs: Any, sources: Vector, direction: Any = None, **arguments: Any
) -> Vector:
    """Return dense gradients, zero for what the outputs do not depend on."""
    if isinstance(outputs, list):
        pairs = [(o, d) for o, d in zip(outputs, direction) if o.requires_grad]
        if not pairs:
            return [torch.zeros_like(s) for s in sources]
        outputs, direction = map(list, zip(*pairs))
    elif not outputs.requires_grad:
        return [torch.zeros_like(s) for s in sources]
    found = torch.autograd.grad(
        outputs, sources, direction, allow_unused=True, **arguments
    )
    return [
        torch.zeros_like(s) if g is None else g.to_dense()
        for g, s in zip(found, sources)
    ]
