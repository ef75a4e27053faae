"""Refuses models that hold parameters which Keras does not know."""

from collections.abc import Iterator
from typing import Any

import keras
import torch

from keras_sam.backend.keras_private import KerasSaveable
from keras_sam.backend.keras_private import flatten_layers
from keras_sam.types import Tensor
from keras_sam.types import Vector


def refuse_raw_parameters(model: keras.Model) -> None:
    """Raise if a layer holds a parameter outside a Keras variable.

    Such a parameter cannot be perturbed. Nor can those inside a
    `torch.nn.Module`, which reads its own parameters whatever values a pass
    is to run with, and writes its own buffers in both passes.

    Args:
        model: A `keras.Model`.

    Raises:
        ValueError: Naming the layer.
    """
    for layer in flatten_layers(model):
        if (
            isinstance(layer, keras.layers.TorchModuleWrapper)
            and next(_tensors(layer.module), None) is not None
        ):
            raise ValueError(
                f"Layer '{layer.name}' wraps a `torch.nn.Module` with "
                "parameters or buffers of its own. They would not be "
                "perturbed, and what the module writes would be written in "
                "both passes. Use layers of Keras, or train with "
                f"`keras.Model`. Received: module={layer.module!r}"
            )
        for name in _raw_tensors(layer):
            raise ValueError(
                f"Layer '{layer.name}' holds the parameter or buffer '{name}' "
                "of PyTorch, which Keras does not know. It would not be "
                "perturbed, and what the layer writes to it would be written "
                "in both passes. Create it with `self.add_weight()`, which "
                f"makes a `keras.Variable`. Received: layer={layer!r}"
            )


def refuse_unknown_leaves(value: Tensor, sources: Vector) -> None:
    """Raise if a scalar depends on a parameter besides the sources.

    Args:
        value: Scalar with a history.
        sources: What it is to be differentiated by.

    Raises:
        ValueError: With the shapes of the parameters.
    """
    known = {id(source) for source in sources}
    seen = set()
    unknown = []
    pending = [value.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        following = node.next_functions
        if not following and id(node.variable) not in known:
            unknown.append(tuple(node.variable.shape))
        pending.extend(function for function, _ in following)
    if unknown:
        raise ValueError(
            "The model reads trainable parameters that Keras does not know, so "
            "that they can be neither perturbed nor trained. Create them with "
            "`self.add_weight()`. Received: parameters of the shapes "
            f"{unknown}"
        )


def _tensors(module: torch.nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _raw_tensors(layer: keras.Layer) -> Iterator[str]:
    """Yield the names of what the layer holds besides Keras variables."""
    for name, _ in layer.named_buffers(recurse=False):
        yield name
    seen = {id(variable.value) for variable in layer.variables}
    for name, value in vars(layer).items():
        yield from _raw_parameters(name, value, seen)


def _raw_parameters(name: str, value: Any, seen: set[int]) -> Iterator[str]:
    """Yield the names of parameters in attributes and containers.

    Other layers, metrics and optimizers are left out: `flatten_layers` comes
    to the layers, and the others keep their state in Keras variables.
    """
    if id(value) in seen or isinstance(value, (KerasSaveable, keras.Variable)):
        return
    seen.add(id(value))
    if isinstance(value, torch.nn.Parameter):
        yield name
    for key, item in _items(name, value):
        yield from _raw_parameters(key, item, seen)


def _items(name: str, value: Any) -> list[tuple[str, Any]]:
    """Return what is in a container, with names; nothing of anything else."""
    if isinstance(value, torch.nn.Module):
        return list(value.named_parameters())
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, (list, tuple, set)):
        return [(name, item) for item in value]
    return []
