"""Warns of models that hold variables which Keras does not know."""

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_sam.backend.keras_private import KerasSaveable
from keras_sam.backend.keras_private import flatten_layers


def warn_of_raw_variables(model: keras.Model) -> None:
    """Warn if a layer holds a `tf.Variable` outside a Keras variable.

    Keras does not train it, nor is it perturbed; what the layer writes to it,
    it writes in both passes.

    Args:
        model: A `keras.Model`.
    """
    for layer in flatten_layers(model):
        for variable in _raw_variables(vars(layer), seen=set()):
            warnings.warn(
                f"Layer '{layer.name}' holds the `tf.Variable` "
                f"'{variable.name}', which Keras does not know. It is neither "
                "trained nor perturbed, and what the layer writes to it is "
                "written in both passes. Create it with `self.add_weight()`, "
                "which makes a `keras.Variable`.",
                stacklevel=4,
            )


def _raw_variables(value: Any, seen: set[int]) -> Iterator[tf.Variable]:
    """Yield the variables in attributes and containers.

    Other layers, metrics and optimizers are left out: `flatten_layers` comes
    to the layers, and the others keep their state in Keras variables.
    """
    if id(value) in seen or isinstance(value, (KerasSaveable, keras.Variable)):
        return
    seen.add(id(value))
    if isinstance(value, tf.Variable):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _raw_variables(item, seen)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _raw_variables(item, seen)
    elif isinstance(value, tf.__internal__.tracking.Trackable):
        yield from _raw_variables(vars(value), seen)
