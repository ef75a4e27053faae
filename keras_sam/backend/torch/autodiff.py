"""Gradients and control flow on tensors."""

from collections.abc import Callable
from typing import Any

import keras
import torch

from keras_sam.backend.keras_private import get_keras_mask
from keras_sam.backend.keras_private import set_keras_mask
from keras_sam.backend.torch.raw_parameters import refuse_unknown_leaves
from keras_sam.types import Tensor
from keras_sam.types import Vector


def read(variable: keras.Variable) -> Tensor:
    """Return the value of a variable, without its history."""
    return variable.value.detach()


def value_and_gradients(
    function: Callable[[Vector], tuple[Tensor, Any]],
    weights: Vector,
    wanted: list[int],
) -> tuple[Tensor, Any, Vector]:
    """Evaluate a function of the weights and differentiate it.

    Args:
        function: Takes weights, returns a scalar and anything else.
        weights: Tensors.
        wanted: Which weights to differentiate by.

    Returns:
        The scalar, the function's other result, both without their history,
        and one gradient per wanted weight, `None` where the scalar does not
        depend on it.

    Raises:
        ValueError: If the function reads a trainable `torch.nn.Parameter`.
    """
    point = list(weights)
    for i in wanted:
        point[i] = weights[i].detach().requires_grad_()
    sources = [point[i] for i in wanted]
    with torch.enable_grad():
        value, auxiliary = function(point)
    gradients: Any = [None] * len(sources)
    if value.requires_grad:
        refuse_unknown_leaves(value, sources)
        gradients = torch.autograd.grad(value, sources, allow_unused=True)
    return (
        _without_history(value),
        keras.tree.map_structure(_without_history, auxiliary),
        list(gradients),
    )


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


def densify(gradient: Tensor) -> Tensor:
    """Return a sparse gradient as a tensor, duplicate rows summed."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def num_replicas() -> int:
    """Return 1: Keras trains on one device with PyTorch."""
    return 1


def mean_over_replicas(nest: Any) -> Any:
    """Return the tensors: there is one replica."""
    return nest


def cond(
    condition: Tensor,
    if_true: Callable[[], Any],
    if_false: Callable[[], Any],
) -> Any:
    """Return the result of one of two functions; waits for the condition."""
    return if_true() if condition else if_false()


def traced_once(function: Callable[..., Any]) -> Any:
    """Return the function; nothing is traced."""
    return function


def shared_size(size: Tensor) -> Tensor:
    """Return the size of parts, an integer: shapes are known."""
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
        function: Returns a new carry and a nest of tensors of shape
            `(num_rows, ...)`.
        carry: Nest of tensors.
        start: Integer, where the first part starts.
        size: Integer, the size of each part.
        count: Integer >= 1.
        num_rows: Not used: the outputs have their shapes.
        like: Not used.

    Returns:
        The last carry, and the outputs of shape `(count * num_rows, ...)`.
    """
    del num_rows, like
    outputs = []
    for i in range(count):
        carry, output = function(carry, start + i * size, size)
        outputs.append(output)
    return carry, keras.tree.map_structure(lambda *t: torch.cat(t), *outputs)
