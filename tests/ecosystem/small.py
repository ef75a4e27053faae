"""A small model for searches and checkpoints."""

import keras

import keras_sam
from tests import cases

X, Y = cases.FEATURES, cases.CLASSES


def model(**settings):
    """Return a compiled model."""
    inputs = keras.Input((6,), name="inputs")
    hidden = keras.layers.Dense(8, activation="tanh", name="hidden")(inputs)
    outputs = keras.layers.Dense(3, activation="softmax", name="classes")
    network = keras_sam.SAMModel(
        inputs, outputs(hidden), name="network", **settings
    )
    network.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, name="sgd"),
        "sparse_categorical_crossentropy",
    )
    return network
