"""What each variable of a model is for, and which ones are perturbed."""

import re
import warnings
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

    A variable that Keras named goes by the name under which its layer keeps
    it: in an attribute or, as in a `JaxLayer`, in a dictionary there. Where
    that says nothing either, what has less than two axes is taken for a bias.

    Returns:
        One of `"kernel"`, `"bias"`, `"scale"` and `"offset"` for each of
        `model.trainable_variables`. Scales and offsets are those of layers
        with "Normalization" or "Norm" in their class name; a bias is what is
        called so, whatever its rank (that of a GRU is a matrix).
    """
    return [role for role, _ in _found_roles(model)]


def guessed(model: keras.Model) -> dict[str, str]:
    """Return the roles that follow from a shape alone, by path."""
    return {
        variable.path: role
        for variable, (role, is_guessed) in zip(
            model.trainable_variables, _found_roles(model)
        )
        if is_guessed
    }


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
        _warn_of_rounding(model, state.selection[1])
    return state.selection


def _warn_of_rounding(model: Any, positions: list[int]) -> None:
    """Warn where w + e is rounded to 8 or 11 bits."""
    dtypes = {model.trainable_variables[i].dtype for i in positions}
    low = sorted(dtypes & {"bfloat16", "float16"})
    if low and not model.sam.is_plain:
        warnings.warn(
            f"The weights are {' and '.join(low)}, in which w + e loses part "
            "of the perturbation, or all of it: `keras_sam.verify` says how "
            "much is left. With a mixed policy, such as "
            '`"mixed_bfloat16"`, weights are float32.',
            stacklevel=2,
        )


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


def _found_roles(model: keras.Model) -> list[tuple[str, bool]]:
    """Return the role of each trainable variable, and whether it is a guess."""
    found = {}
    for layer in backend.flatten_layers(model):
        weights = _own_weights(layer)
        kept = _kept_names(layer) if any(map(_is_unnamed, weights)) else {}
        for variable in weights:
            names = kept.get(id(variable), [variable.name])
            found[id(variable)] = _role(
                [type(layer).__name__, *names], variable
            )
    return [found[id(variable)] for variable in model.trainable_variables]


def _own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights that no layer inside this one has."""
    parts = (
        part for part in backend.flatten_layers(layer) if part is not layer
    )
    inside = {id(variable) for part in parts for variable in part.weights}
    return [v for v in layer.weights if id(v) not in inside]


def _kept_names(layer: keras.Layer) -> dict[int, list[str]]:
    """Return under which names a layer keeps what Keras named.

    A layer may keep it in a list as well: the more names the better.
    """
    kept = {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, (keras.Variable, dict, list, tuple))
        and not name.startswith("_")
    }
    found: dict[int, list[str]] = {}
    for path, leaf in keras.tree.flatten_with_path(kept):
        names = [str(key) for key in path]
        if isinstance(leaf, keras.Variable) and _is_unnamed(leaf):
            found[id(leaf)] = max(found.get(id(leaf), []), names, key=_count)
    return found


def _count(names: list[str]) -> int:
    return sum(not name.isdigit() for name in names)


def _is_unnamed(variable: keras.Variable) -> bool:
    """Return whether it has the name that Keras gives where there is none."""
    return re.fullmatch(r"variable(_\d+)?", variable.name) is not None


def role_by_name(variable: keras.Variable) -> str:
    """Return what a variable is for, as far as its name tells."""
    role = _NAMED.get(variable.name)
    if role is None and _is_unnamed(variable):
        return _role_by_shape(variable)
    return role or ("bias" if _is_bias(variable.name) else "kernel")


_NAMED = {
    "gamma": "scale",
    "scale": "scale",
    "beta": "offset",
    "offset": "offset",
    "kernel": "kernel",
}


def _role_by_shape(variable: keras.Variable) -> str:
    return "bias" if len(variable.shape) < 2 else "kernel"


def _is_bias(name: str) -> bool:
    return name == "bias" or name.endswith("_bias")


def _role(names: list[str], variable: keras.Variable) -> tuple[str, bool]:
    """Return what a variable is for, and whether that is a guess.

    Args:
        names: That of the class of its layer, and where the layer keeps it.
        variable: A weight.
    """
    *layers, name = names
    if any("Norm" in layer for layer in layers):
        is_offset = name in ("beta", "bias", "offset")
        return "offset" if is_offset else "scale", False
    if _is_bias(name):
        return "bias", False
    if not _is_unnamed(variable):
        return "kernel", False
    role = _NAMED.get(name)
    return role or _role_by_shape(variable), role is None
