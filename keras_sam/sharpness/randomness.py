"""Refuses models whose loss is not a function of the weights alone."""

import keras

from keras_sam import backend


def refuse(
    model: keras.Model, written: list[keras.Variable], training: bool
) -> None:
    """Raise if a forward pass advanced a seed, or wrote a weight.

    Args:
        model: The model.
        written: What the pass would have written.
        training: The mode it ran in, for the message.

    Raises:
        ValueError: Naming the layer.
    """
    owners = _owners(model)
    trainable = {id(v) for v in model.trainable_variables}
    for variable in written:
        if id(variable) in owners:
            raise ValueError(
                f"{owners[id(variable)]} draws random numbers with "
                f"training={training}, so that the loss is not a function of "
                "the weights. Measure with `training=False`, or replace it. "
                f"Received: training={training}"
            )
        if id(variable) in trainable:
            raise ValueError(
                "A layer writes a trainable weight in its forward pass, so "
                "that the loss is not a function of the weights. Measure with "
                f"`training=False`. Received: {variable.path}"
            )


def _owners(model: keras.Model) -> dict[int, str]:
    """Return who draws from a seed, by the identity of its variable."""
    found = {
        id(seed): "A layer without a `SeedGenerator` of its own"
        for seed in backend.global_seed_variables()
    }
    for layer in backend.flatten_layers(model):
        for value in vars(layer).values():
            if isinstance(value, keras.random.SeedGenerator):
                found[id(value.state)] = f"Layer '{layer.name}'"
    return found
