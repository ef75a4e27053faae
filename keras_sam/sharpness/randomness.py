"""Checks that the loss of a model is a function of its weights alone."""

from collections.abc import Callable
from typing import Any

import keras

from keras_sam import backend
from keras_sam.engine.scopes import PassScope


class WriterScope(PassScope):
    """Records which layer first writes each variable.

    Attributes:
        writers: The name of the innermost layer by the variable's identity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writers: dict[int, str] = {}

    def add_update(self, update: tuple[keras.Variable, Any]) -> None:
        name = backend.current_layer_name()
        self.writers.setdefault(id(update[0]), name)
        super().add_update(update)


def refuse_unsupported(
    model: keras.Model,
    written: list[keras.Variable],
    training: bool,
    find_writers: Callable[[], dict[int, str]],
) -> None:
    """Raise if a forward pass advanced a seed, or wrote a weight.

    Args:
        model: The model.
        written: The variables that the pass assigned.
        training: The mode of the pass, for the message.
        find_writers: Repeats the pass and returns the `writers` of a
            `WriterScope`.

    Raises:
        ValueError: With the name of the layer.
    """
    is_seed = {id(seed) for seed in _seeds(model)}
    if any(id(variable) in is_seed for variable in written):
        refuse_draws(model, training, find_writers)
    trainable = {id(v) for v in model.trainable_variables}
    weights = [v for v in written if id(v) in trainable]
    if weights:
        paths = ", ".join(v.path for v in weights)
        raise ValueError(
            f"Layer '{_first(find_writers(), weights)}' writes its trainable "
            f"weight with training={training}, so that the loss is not a "
            "function of the weights. Measure with `training=False`, or "
            f"replace it. Received: training={training}, and weights {paths}"
        )


def refuse_draws(
    model: keras.Model,
    training: bool,
    find_writers: Callable[[], dict[int, str]],
) -> None:
    """Raise if a pass draws random numbers.

    Args:
        model: The model.
        training: The mode of the pass, for the message.
        find_writers: Repeats the pass and returns the `writers` of a
            `WriterScope`.

    Raises:
        ValueError: With the name of the innermost layer that draws.
    """
    name = _first(find_writers(), _seeds(model))
    if name is not None:
        raise ValueError(
            f"Layer '{name}' draws random numbers with "
            f"training={training}, so that the loss is not a function of the "
            "weights. Measure with `training=False`, or replace it. "
            f"Received: training={training}"
        )


def _first(
    writers: dict[int, str], variables: list[keras.Variable]
) -> str | None:
    """Return the name of the layer that is the first to write one of them."""
    wanted = {id(variable) for variable in variables}
    return next((writers[key] for key in writers if key in wanted), None)


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """Return the states of all generators that the model may draw from."""
    # `variables` is `weights`, metric variables and the seeds of generators.
    others = {id(v) for v in [*model.weights, *model.metrics_variables]}
    own = [v for v in model.variables if id(v) not in others]
    return [*own, *backend.generator_variables()]
