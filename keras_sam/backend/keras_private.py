"""Private Keras API behind names of our own; `__init__.py` lists it."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend import get_keras_mask
from keras.src.backend import set_keras_mask
from keras.src.backend.common import global_state
from keras.src.backend.common.name_scope import current_path
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.losses.loss import unscale_loss_for_distribution
from keras.src.models.functional import Functional
from keras.src.models.functional import functional_like_constructor
from keras.src.models.model import functional_init_arguments
from keras.src.random.seed_generator import global_seed_generator
from keras.src.saving import object_registration
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils import python_utils

from keras_sam.types import Tensor


def predict(model: keras.Model, x: Any, training: bool) -> Any:
    """Return the predictions of a forward pass."""
    if model._call_has_training_arg:
        return model(x, training=training)
    return model(x)


def call_in_training_mode(model: keras.Model, x: Any) -> Any:
    """Return the predictions of a forward pass with `training=True`."""
    return predict(model, x, training=True)


def compute_loss(
    model: keras.Model,
    x: Any,
    y: Any,
    y_pred: Any,
    sample_weight: Any,
    training: bool = True,
) -> Tensor:
    """Return the loss that the model is compiled with, a scalar."""
    return model._compute_loss(
        x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training
    )


@contextlib.contextmanager
def losses_of(model: keras.Model, losses: list[Tensor]) -> Iterator[None]:
    """Make `model.losses` return `losses`, if there are any, in this scope."""
    previous = model._losses_override
    model._losses_override = losses
    try:
        yield
    finally:
        model._losses_override = previous


def flatten_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Return a layer or model and all layers in it, at any depth."""
    return list(layer._flatten_layers())


def current_layer_name() -> str:
    """Return the name of the innermost layer that is being called."""
    return current_path().split("/")[-1]


def global_seed_variables() -> list[keras.Variable]:
    """Return the state of the generator that unseeded random ops draw from.

    None on JAX, where a train step must not draw from it.
    """
    if keras.backend.backend() == "jax":
        return []
    generator = global_state.get_global_attribute("global_seed_generator")
    return [] if generator is None else [generator.state]


def made_global_seed_variable() -> keras.Variable:
    """Return the state of the generator for unseeded random ops, made now.

    Keras would make it in the middle of a pass, seeded from Python's, which is
    left as it was.
    """
    before = random.getstate()
    generator = global_seed_generator()
    random.setstate(before)
    return generator.state


def track_loss(model: keras.Model, loss: Tensor, batch_size: Tensor) -> None:
    """Update the running mean that `fit` logs as `loss`."""
    model._loss_tracker.update_state(loss, sample_weight=batch_size)


def logs_as_list(model: keras.Model, logs: dict[str, Any]) -> Any:
    """Return logs in the form and order of `train_on_batch`."""
    return model._flatten_metrics_in_order(logs)


def build(model: keras.Model, data: Any) -> None:
    """Create whatever variables of model, loss and metrics are missing."""
    model._symbolic_build(data_batch=data)


def as_default(get_config: Any) -> Any:
    """Return a `get_config`, marked as one that subclasses may rely on.

    A subclass without one of its own is then configured by the arguments of
    its constructor, as a subclass of `keras.Model` is.
    """
    return python_utils.default(get_config)


def has_functional_constructor(cls: type[keras.Model]) -> bool:
    """Return whether Keras calls `cls` with inputs and outputs."""
    return functional_like_constructor(cls)


def save_under_name_of(original: type, substitute: type) -> None:
    """Make files name `original` where they hold a `substitute`."""
    name = keras.saving.get_registered_name(original)
    object_registration.GLOBAL_CUSTOM_NAMES[substitute] = name


def layout(variable: keras.Variable) -> Any:
    """Return how a variable is laid out over devices, or `None`."""
    return variable._layout


def compile_config(model: keras.Model) -> Any:
    """Return an object that each `compile` of the model makes anew."""
    return model._compile_config


def loss_scale(optimizer: keras.Optimizer) -> Tensor | None:
    """Return what the optimizer multiplies the loss by; `None` for nothing."""
    scale = optimizer.scale_loss(1.0)
    return None if isinstance(scale, float) and scale == 1.0 else scale
