"""Parameters in a model that Keras does not know."""

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import torch

from keras_sam.backend.keras_private import KerasSaveable
from keras_sam.backend.keras_private import flatten_layers
from keras_sam.types import Tensor


def check_raw_parameters(model: keras.Model) -> None:
    """Check the parameters that a layer holds outside Keras variables.

    Warns of a parameter or buffer, which Keras does not train either.

    Args:
        model: A `keras.Model`.

    Raises:
        ValueError: If a layer wraps a `torch.nn.Module`, which reads its own
            parameters whatever values a pass is to run with, and writes its
            own buffers in both passes.
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
            warnings.warn(
                f"Layer '{layer.name}' holds the parameter or buffer '{name}' "
                "of PyTorch, which Keras does not know. It is neither trained "
                "nor perturbed, and what the layer writes to it is written in "
                "both passes. Create it with `self.add_weight()`, which makes "
                "a `keras.Variable`.",
                stacklevel=4,
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
