"""Which weights a measurement moves."""

from typing import Any

import keras

from keras_sam import backend
from keras_sam.engine import roles


def positions(model: keras.Model, variables: Any) -> list[int]:
    """Return the positions in `trainable_variables` of what is measured.

    Args:
        model: A built model.
        variables: See `keras_sam.sharpness.Objective`.

    Returns:
        At least one position, in increasing order.

    Raises:
        ValueError: If nothing is selected, or a name is unknown.
    """
    if variables in ("all", "no_norm_no_bias", "norm_only"):
        return _chosen(model, variables, variables)
    is_layer = isinstance(variables, keras.Layer)
    if callable(variables) and not is_layer:
        return _chosen(model, variables, variables)
    if isinstance(variables, str) or is_layer:
        variables = [variables]
    wanted = {
        id(weight)
        for layer in variables
        for weight in _layer(model, layer).trainable_variables
    }
    return _chosen(model, lambda v: id(v) in wanted, variables)


def _layer(model: keras.Model, layer: Any) -> keras.Layer:
    if isinstance(layer, keras.Layer):
        return layer
    layers = backend.flatten_layers(model)
    for found in layers:
        if found.name == layer:
            return found
    names = ", ".join(found.name for found in layers if found.variables)
    raise ValueError(
        f"`variables` must name layers of the model. It has: {names}. "
        f"Received: {layer!r}"
    )


def _chosen(model: keras.Model, perturb: Any, received: Any) -> list[int]:
    chosen = roles.perturbed(model, perturb)
    if not chosen:
        paths = ", ".join(v.path for v in model.trainable_variables[:8])
        raise ValueError(
            "`variables` must select at least one trainable variable. The "
            f"model has: {paths}. Received: variables={received!r}"
        )
    return chosen
