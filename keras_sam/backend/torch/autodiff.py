"""Gradients and control flow on tensors."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
import torch

from keras_sam.backend import common
from keras_sam.backend.keras_private import get_keras_mask
from keras_sam.backend.keras_private import set_keras_mask
from keras_sam.backend.torch import vectors
from keras_sam.types import Tensor
from keras_sam.types import Vector


def as_tensor(value: Tensor) -> Tensor:
    """Return what a variable reads as, without its history."""
    return value.detach()


def auxiliary_and_gradients(
    function: Callable[[], tuple[Tensor, Any]],
    open_at: Callable[[Vector], AbstractContextManager[None]],
    weights: Vector,
    wanted: list[int],
) -> tuple[Any, list[Tensor | None]]:
    """Evaluate a function of the weights and differentiate it.

    Args:
        function: Returns a scalar and anything else.
        open_at: Opens a scope in which variables read as given weights.
        weights: What they read as.
        wanted: Which weights to differentiate by.

    Returns:
        The function's other result, without its history, and one gradient for
        each wanted weight, `None` where the scalar does not depend on it.
    """
    point = list(weights)
    for i in wanted:
        if not point[i].requires_grad:
            point[i] = point[i].detach().requires_grad_()
    sources = [point[i] for i in wanted]
    gradients: Any = [None] * len(sources)
    with open_at(point), torch.enable_grad():
        value, auxiliary = function()
        if value.requires_grad and sources:
            gradients = torch.autograd.grad(value, sources, allow_unused=True)
    return keras.tree.map_structure(_without_history, auxiliary), [*gradients]


def _without_history(tensor: Any) -> Any:
    """Return a tensor that keeps no graph alive, its mask still attached.

    A parameter is copied: what is written to it later is not to be seen.
    """
    if not isinstance(tensor, torch.Tensor):
        return tensor
    if isinstance(tensor, torch.nn.Parameter):
        return tensor.detach().clone()
    if not tensor.requires_grad:
        return tensor
    detached = tensor.detach()
    mask = get_keras_mask(tensor)
    if mask is not None:
        set_keras_mask(detached, mask)
    return detached


def perturbed_weights(
    variables: list[keras.Variable], values: Vector, perturbation: Vector
) -> Vector:
    """Return w + e for a second pass; see `common`.

    In memory of their own: what an eager step frees on a CPU, the system takes
    back, and to give it out again, page by page, takes as long as a tenth of a
    step of dense layers.
    """
    if torch.compiler.is_compiling():
        return vectors.add(values, perturbation)
    memory = [_memory(variable) for variable in variables]
    return vectors.add(values, perturbation, out=memory)


_memory = common.PerVariable(
    lambda variable: torch.empty_like(variable.value.detach())
)


def densify(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return a sparse gradient as a tensor, duplicate rows summed."""
    del weight
    return gradient.to_dense() if gradient.is_sparse else gradient


def stored_values(gradient: Tensor) -> Tensor:
    """Return what a sparse gradient stores, a dense one as it is."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def filled_like(gradient: Tensor, value: float) -> Tensor:
    """Return a gradient of the same kind, all of one value."""
    return torch.full_like(gradient, value)


def cond(
    condition: Tensor,
    if_true: Callable[[], Any],
    if_false: Callable[[], Any],
) -> Any:
    """Return the result of one of two functions; waits for the condition."""
    return if_true() if condition else if_false()


def select(
    condition: Tensor,
    if_true: Callable[[], Any],
    if_false: Callable[[], Any],
) -> Any:
    """Return one of two nests.

    A processor decides; for an accelerator to do so would be to wait for it.
    """
    is_known = not torch.compiler.is_compiling()
    if is_known and condition.device.type == "cpu":
        return cond(condition, if_true, if_false)
    return keras.tree.map_structure(
        lambda a, b: None if a is None else torch.where(condition, a, b),
        if_true(),
        if_false(),
    )
