"""Private Keras API behind names of our own; `__init__.py` lists it."""

import random
import weakref
from typing import Any

import keras
from keras.src.backend.common.masking import get_keras_mask
from keras.src.backend.common.masking import set_keras_mask
from keras.src.backend.common.name_scope import current_path
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.losses.loss import unscale_loss_for_distribution
from keras.src.models.functional import Functional
from keras.src.models.functional import functional_like_constructor
from keras.src.models.model import functional_init_arguments
from keras.src.random.seed_generator import global_seed_generator
from keras.src.saving import object_registration
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.utils import python_utils

from keras_sam.types import Tensor

# What it passes on as it is.
__all__ = [
    "Functional",
    "KerasSaveable",
    "functional_init_arguments",
    "get_keras_mask",
    "get_stateless_scope",
    "set_keras_mask",
    "unscale_loss_for_distribution",
]


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


def loss_in_place_of_compiled(
    model: keras.Model, loss: Any, y: Any, y_pred: Any, sample_weight: Any
) -> Tensor:
    """Return what `compute_loss` would, had the model another loss.

    Args:
        model: The model, for what it adds to its loss.
        loss: As for `compile`.
        y: Targets.
        y_pred: Predictions.
        sample_weight: Weights, or `None`.
    """
    if not keras.tree.is_nested(loss):
        loss = keras.tree.map_structure(lambda _: loss, y_pred)
    names = getattr(model, "output_names", None)
    values = [
        CompileLoss(one, output_names=names)(y, y_pred, sample_weight)
        for one in _one_at_a_time(loss, y_pred)
    ]
    added = map(model._aggregate_additional_loss, model.losses)
    return sum([*values, *added])


def _one_at_a_time(loss: Any, y_pred: Any) -> list[Any]:
    """Return the losses in a nest, each with `None` in the place of others.

    For several at once Keras would make metrics, in the middle of a pass. A
    list for a single output is a sum.
    """
    leaves = keras.tree.flatten(loss)
    if isinstance(loss, (list, tuple)) and not keras.tree.is_nested(y_pred):
        return [leaf for leaf in leaves if leaf is not None]
    return [
        keras.tree.pack_sequence_as(
            loss, [leaf if i == k else None for i in range(len(leaves))]
        )
        for k, leaf in enumerate(leaves)
        if leaf is not None
    ]


def flatten_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Return a layer or model and all layers in it, at any depth."""
    return list(layer._flatten_layers())


def current_layer_name() -> str:
    """Return the name of the innermost layer that is being called."""
    return current_path().split("/")[-1]


def made_global_seed_variable() -> keras.Variable:
    """Return the state of the generator for unseeded random ops, made now.

    Keras would make it in the middle of a pass, where no variable can be made,
    seeded from Python's generator, which is left as it was.
    """
    before = random.getstate()
    generator = global_seed_generator()
    random.setstate(before)
    return generator.state


def has_unseeded_draws(model: keras.Model) -> bool:
    """Return whether a layer has a generator that was given no seed.

    On PyTorch, dropout then draws from the generator of the process.
    """
    return any(
        isinstance(value, keras.random.SeedGenerator)
        and value._initial_seed is None
        for layer in model._flatten_layers()
        for value in vars(layer).values()
    )


def unlisted_variables(model: keras.Model) -> list[keras.Variable]:
    """Return variables of a model that its own lists leave out.

    That is the running mean of the loss where `metrics` is a property of the
    user's own, and what a layer keeps as an attribute, as a stateful recurrent
    layer keeps its states.
    """
    kept = [
        leaf
        for layer in model._flatten_layers()
        for value in vars(layer).values()
        if isinstance(value, (keras.Variable, list, tuple))
        for leaf in keras.tree.flatten(value)
        if isinstance(leaf, keras.Variable) and not leaf.trainable
    ]
    tracker = getattr(model, "_loss_tracker", None)
    return [*([] if tracker is None else tracker.variables), *kept]


def track_loss(model: keras.Model, loss: Tensor, batch_size: Tensor) -> None:
    """Update the running mean that `fit` logs as `loss`."""
    model._loss_tracker.update_state(loss, sample_weight=batch_size)


def logs_as_list(model: keras.Model, logs: dict[str, Any]) -> Any:
    """Return logs in the form and order of `train_on_batch`."""
    return model._flatten_metrics_in_order(logs)


def build(model: keras.Model, data: Any) -> None:
    """Create whatever variables of model, loss and metrics are missing."""
    model._symbolic_build(data_batch=data)


def is_built(model: keras.Model) -> bool:
    """Return whether model, loss and metrics have all their variables."""
    parts = (model._compile_loss, model._compile_metrics)
    return all(layer.built for layer in model._flatten_layers()) and all(
        part is None or part.built for part in parts
    )


def as_default(get_config: Any) -> Any:
    """Return a `get_config`, marked as one that subclasses may rely on.

    A subclass without one of its own is then configured by the arguments of
    its constructor, as a subclass of `keras.Model` is.
    """
    return python_utils.default(get_config)


def has_functional_constructor(cls: type[keras.Model]) -> bool:
    """Return whether Keras calls `cls` with inputs and outputs."""
    return functional_like_constructor(cls)


class _WeakKey(weakref.ref[type]):
    """A key that a dictionary finds by the class, but does not keep alive."""

    __hash__ = weakref.ref.__hash__

    def __eq__(self, other: object) -> bool:
        return other is self or other is self()


def save_under_name_of(original: type, substitute: type) -> None:
    """Make files name `original` where they hold a `substitute`."""
    names: dict[Any, str] = object_registration.GLOBAL_CUSTOM_NAMES
    key = _WeakKey(substitute, lambda key: names.pop(key, None))
    names[key] = keras.saving.get_registered_name(original)


def layout(variable: keras.Variable) -> Any:
    """Return how a variable is laid out over devices, or `None`."""
    return variable._layout


def compile_config(model: keras.Model) -> Any:
    """Return an object that each `compile` makes anew; `None` before it."""
    return model._compile_config if hasattr(model, "_compile_config") else None


class _CompileConfig:
    def __get__(self, model: Any, owner: type | None = None) -> Any:
        if model is None:
            return self
        try:
            return vars(model)["_compile_config"]
        except KeyError:
            raise AttributeError("_compile_config") from None

    def __set__(self, model: Any, config: Any) -> None:
        vars(model).update(
            _compile_config=config,
            train_function=None,
            test_function=None,
            predict_function=None,
        )


class DiscardsSharedFunctions:
    """A base of models whose `compile` empties the functions in `__dict__`.

    A `SAMModel` has its own functions elsewhere; those in `__dict__` are of a
    plain model that shares it. Overriding `compile` would not do: Keras then
    no longer compiles models that it loads.
    """

    # What `compile` sets last.
    _compile_config = _CompileConfig()


def learning_rate(optimizer: keras.Optimizer) -> Tensor:
    """Return the learning rate of all weights.

    Raises:
        ValueError: If there are several.
    """
    if hasattr(_unscaled(optimizer), "optimizers"):
        raise ValueError(
            "The radius cannot follow the learning rate of an optimizer that "
            "has several. Use a schedule of the iteration, or one optimizer. "
            f"Received: optimizer={optimizer!r}"
        )
    return optimizer.learning_rate


def optimizer_of(
    optimizer: keras.Optimizer, variable: keras.Variable
) -> keras.Optimizer:
    """Return the optimizer of a variable, of a built `MultiOptimizer` a part.

    Args:
        optimizer: What a model is compiled with.
        variable: A trainable variable.
    """
    inner = _unscaled(optimizer)
    if not hasattr(inner, "optimizers"):
        return inner
    return inner.optimizers[
        inner._var_to_optimizer_idx[inner._var_key(variable)]
    ]


def iterations(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """Return the counters of `apply` of an optimizer and of its parts."""
    inner = _unscaled(optimizer)
    parts = (inner, *getattr(inner, "optimizers", []))
    return [part._iterations for part in parts]


def _unscaled(optimizer: keras.Optimizer) -> Any:
    """Return the optimizer in a `LossScaleOptimizer`, another as it is."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def loss_scale(optimizer: keras.Optimizer) -> Tensor | None:
    """Return what the optimizer multiplies the loss by; `None` for nothing."""
    scale = optimizer.scale_loss(1.0)
    return None if isinstance(scale, float) and scale == 1.0 else scale
