"""The weights that a measure is a function of."""

from typing import Any

import keras

from keras_sam import backend
from keras_sam.engine import roles


def positions(model: keras.Model, variables: Any) -> list[int]:
    """Return the positions of selected weights in `trainable_variables`.

    Args:
        model: A built model.
        variables: See `keras_sam.sharpness.Objective`.

    Returns:
        At least one position, in increasing order.

    Raises:
        ValueError: If nothing is selected, or a name is unknown.
    """
    is_layer = isinstance(variables, keras.Layer)
    is_group = variables in ("all", "no_norm_no_bias", "norm_only")
    if is_group or (callable(variables) and not is_layer):
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
    for candidate in layers:
        if candidate.name == layer:
            return candidate
    names = ", ".join(each.name for each in layers if each.variables)
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
