"""Mistakes that a type checker finds, each on a line of its own."""

import keras

import keras_sam


def main(model: keras.Model) -> None:
    """Misspell a name, and take a number for a string."""
    keras_sam.SAMModel.from_model(model, num_microbatch=2)  # wrong
    keras_sam.SAMModel.from_model(model, perturbation=0.5)  # wrong
    keras_sam.SAMModel.from_model(model).sam.radius  # wrong # noqa: B018
    keras_sam.verify(model, model).rize + 1  # wrong
