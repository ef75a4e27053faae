"""What each variable of a model is for, and which ones are perturbed."""

from collections.abc import Callable
from typing import Any

import keras

from keras_sam import backend

_PERTURBED_ROLES = {
    "all": ("kernel", "bias", "scale", "offset"),
    "no_norm_no_bias": ("kernel",),
    "norm_only": ("scale", "offset"),
}


def roles(model: keras.Model) -> list[str]:
    """Return what each trainable variable of the model is for.

    Returns:
        One of `"kernel"`, `"bias"`, `"scale"` and `"offset"` for each of
        `model.trainable_variables`. Scales and offsets are those of layers
        with "Normalization" or "Norm" in their class name; a bias is what is
        called so, whatever its rank (that of a GRU is a matrix).
    """
    found = {}
    for layer in backend.flatten_layers(model):
        for variable in _own_weights(layer):
            found[id(variable)] = _role(layer, variable)
    return [found[id(variable)] for variable in model.trainable_variables]


def perturbed(model: keras.Model, perturb: Any) -> list[int]:
    """Return the positions in `trainable_variables` of what is perturbed.

    Args:
        model: A built model.
        perturb: `"all"`, `"no_norm_no_bias"`, `"norm_only"`, or a callable
            that takes a variable and returns a boolean.

    Returns:
        Positions, in increasing order, none of which is in `overwritten`.
    """
    if callable(perturb):
        selected = [bool(perturb(v)) for v in model.trainable_variables]
    else:
        wanted = _PERTURBED_ROLES[perturb]
        selected = [role in wanted for role in roles(model)]
    left_out = overwritten(model.trainable_variables)
    return [i for i, s in enumerate(selected) if s and i not in left_out]


def overwritten(variables: list[keras.Variable]) -> list[int]:
    """Return the positions of variables whose gradients are their next values.

    Keras has no other way to update what a backward pass computes: the scales
    and histories of layers that are quantized to float8.
    """
    return [i for i, v in enumerate(variables) if v.overwrite_with_gradient]


def of_sam_model(model: Any) -> tuple[list[str], list[int]]:
    """Return `roles` and `perturbed` of a `SAMModel`.

    They are found once for its weights: an eager step would walk over the
    layers for longer than small networks take to compute.
    """
    state = model._sam
    weights = [id(variable) for variable in model.trainable_variables]
    if state.selected_for != weights:
        state.selection = roles(model), perturbed(model, model.sam.perturb)
        state.selected_for = weights
    return state.selection


def check_perturbed(model: Any) -> None:
    """Check that a `SAMModel` perturbs something.

    Raises:
        ValueError: If `perturb` selects nothing.
    """
    _, positions = of_sam_model(model)
    if not positions:
        paths = [variable.path for variable in model.trainable_variables]
        raise ValueError(
            "`perturb` must select at least one trainable variable. The model "
            f"has: {', '.join(paths[:8])}{', ...' if paths[8:] else ''}. "
            f"Received: perturb={model.sam.perturb!r}"
        )


def check(perturb: Any) -> str | Callable[[keras.Variable], bool]:
    """Return `perturb` if it is one of the known choices or a callable.

    Raises:
        ValueError: If it is neither.
    """
    if callable(perturb) or perturb in _PERTURBED_ROLES:
        return perturb
    names = ", ".join(f'"{name}"' for name in _PERTURBED_ROLES)
    raise ValueError(
        f"`perturb` must be {names} or a callable that takes a variable and "
        f"returns a boolean. Received: perturb={perturb!r}"
    )


def _own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights that no layer inside this one has."""
    parts = (
        part for part in backend.flatten_layers(layer) if part is not layer
    )
    inside = {id(variable) for part in parts for variable in part.weights}
    return [v for v in layer.weights if id(v) not in inside]


def role_by_name(variable: keras.Variable) -> str:
    """Return what a variable is for, as far as its name tells."""
    if variable.name in ("gamma", "scale"):
        return "scale"
    if variable.name in ("beta", "offset"):
        return "offset"
    return "bias" if _is_bias(variable.name) else "kernel"


def _is_bias(name: str) -> bool:
    return name == "bias" or name.endswith("_bias")


def _role(layer: keras.Layer, variable: keras.Variable) -> str:
    name = variable.name
    if "Norm" in type(layer).__name__:
        return "offset" if name in ("beta", "bias", "offset") else "scale"
    return "bias" if _is_bias(name) else "kernel"
