"""Refuses models whose loss is not a function of the weights alone."""

import contextlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
from keras import ops

from keras_sam import backend


def refuse(
    model: keras.Model,
    written: list[keras.Variable],
    training: bool,
    evaluate: Callable[[], Any],
) -> None:
    """Raise if a forward pass advanced a seed, or wrote a weight.

    Args:
        model: The model.
        written: What the pass would have written.
        training: The mode it ran in, for the message.
        evaluate: Does the pass again, without a graph.

    Raises:
        ValueError: Naming the layer.
    """
    is_seed = {id(seed) for seed in _seeds(model)}
    if any(id(variable) in is_seed for variable in written):
        refuse_draws(model, training, evaluate)
    trainable = {id(v) for v in model.trainable_variables}
    weights = [v for v in written if id(v) in trainable]
    if weights:
        paths = ", ".join(v.path for v in weights)
        raise ValueError(
            f"Layer '{_first_to_write(weights, model, evaluate)}' writes its "
            f"trainable weight with training={training}, so that the loss is "
            "not a function of the weights. Measure with `training=False`, or "
            f"replace it. Received: training={training}, and weights {paths}"
        )


def refuse_draws(
    model: keras.Model, training: bool, evaluate: Callable[[], Any]
) -> None:
    """Raise if a pass draws random numbers.

    Args:
        model: The model.
        training: The mode of the pass, for the message.
        evaluate: Does the pass, without a graph.

    Raises:
        ValueError: Naming the innermost layer that draws.
    """
    name = _first_to_write(_seeds(model), model, evaluate)
    if name is not None:
        raise ValueError(
            f"Layer '{name}' draws random numbers with "
            f"training={training}, so that the loss is not a function of the "
            "weights. Measure with `training=False`, or replace it. "
            f"Received: training={training}"
        )


def _first_to_write(
    variables: list[keras.Variable],
    model: keras.Model,
    evaluate: Callable[[], Any],
) -> str | None:
    """Return the name of the innermost layer that writes a variable."""
    names: list[str] = []

    def watched(layer: keras.Layer) -> Callable[..., Any]:
        call = layer.call

        def watching(*args: Any, **kwargs: Any) -> Any:
            before = _values(variables)
            result = backend.draw_purely(lambda: call(*args, **kwargs))
            if not names and before != _values(variables):
                names.append(layer.name)
            return result

        return watching

    with contextlib.ExitStack() as stack:
        for layer in backend.flatten_layers(model):
            stack.enter_context(
                mock.patch.object(layer, "call", watched(layer))
            )
        evaluate()
    return names[0] if names else None


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """Return the states of all generators that the model may draw from."""
    others = {id(v) for v in [*model.weights, *model.metrics_variables]}
    own = [v for v in model.variables if id(v) not in others]
    return [
        *own,
        backend.made_global_seed_variable(),
        *backend.unlisted_state(model),
    ]


def _values(variables: list[keras.Variable]) -> list[bytes]:
    return [
        np.asarray(ops.convert_to_numpy(v.value)).tobytes() for v in variables
    ]
