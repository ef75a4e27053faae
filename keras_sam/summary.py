"""What `SAMModel.summary` says below the summary of Keras."""

import math
from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_sam.engine import roles


def lines(model: Any) -> list[str]:
    """Return method, radius, and how many weights are perturbed."""
    sam = model.sam
    found = [
        f" Sharpness-aware method: {sam.method}",
        f" Radius: {_described(sam.rho)}",
        f" Perturbed params: {_perturbed(model)} (perturb={sam.perturb!r})",
    ]
    if sam.num_microbatches > 1:
        found.append(f" Micro-batches: {sam.num_microbatches}")
    if sam.ascent_fraction < 1:
        found.append(f" Ascent fraction: {sam.ascent_fraction:g}")
    if sam.ascent_loss is not None:
        found.append(f" Ascent loss: {_loss(sam.ascent_loss)}")
    return found


def _perturbed(model: Any) -> str:
    if model.sam.is_plain:
        return "none, the radius is 0"
    if not model.built:
        return "unknown, the model is not built"
    weights = model.trainable_variables
    _, perturbed = roles.of_sam_model(model)
    moved = sum(math.prod(weights[i].shape) for i in perturbed)
    total = sum(math.prod(weight.shape) for weight in weights)
    return f"{moved:,} of {total:,} trainable"


def _described(rho: Any) -> str:
    """Return a number, or a schedule with its arguments."""
    if not isinstance(rho, LearningRateSchedule):
        return f"{rho:g}"
    return _serialized(keras.saving.serialize_keras_object(rho))


def _loss(nest: Any) -> str:
    """Return losses in a nest, functions by their names."""
    if isinstance(nest, dict):
        shown = ", ".join(f"{k!r}: {_loss(v)}" for k, v in nest.items())
        return f"{{{shown}}}"
    if isinstance(nest, (list, tuple)):
        return f"[{', '.join(map(_loss, nest))}]"
    if hasattr(nest, "__name__"):
        return nest.__name__
    return _serialized(keras.saving.serialize_keras_object(nest))


def _serialized(value: Any) -> str:
    if not isinstance(value, dict) or "class_name" not in value:
        return repr(value)
    if isinstance(value["config"], str):  # A function, by its name.
        return value["config"]
    arguments = value["config"].items()
    shown = ", ".join(
        f"{k}={_serialized(v)}" for k, v in arguments if k != "name"
    )
    return f"{value['class_name']}({shown})"
