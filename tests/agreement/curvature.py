"""Measures small networks with many layers on one backend.

    python -m tests.agreement.curvature FILE

Writes, for each network, a Hessian-vector product and a Gauss-Newton product
along fixed directions, and the three largest eigenvalues.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

from keras_sam import sharpness

NORMALIZATIONS = {
    "batch": lambda: layers.BatchNormalization(),
    "layer": lambda: layers.LayerNormalization(),
    "group": lambda: layers.GroupNormalization(2),
    "rms": lambda: layers.RMSNormalization(),
    "unit": lambda: layers.UnitNormalization(),
}


def normalized(name):
    """Return a convolution and a normalization, in training mode too."""
    return [
        keras.Input((6, 6, 2)),
        layers.Conv2D(4, 3, activation="swish"),
        NORMALIZATIONS[name](),
        layers.AveragePooling2D(2),
        layers.Flatten(),
    ]


def spectral():
    dense = layers.Dense(4, activation="tanh")
    return [keras.Input((5,)), layers.SpectralNormalization(dense)]


def embedded():
    return [
        keras.Input((6,), dtype="int32"),
        layers.Embedding(9, 4),
        Attention(),
        layers.GlobalAveragePooling1D(),
    ]


class Attention(layers.Layer):
    """Self-attention with a normalization before it."""

    def __init__(self):
        super().__init__()
        self.normalization = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(2, 3)

    def build(self, shape):
        self.normalization.build(shape)
        self.attention.build(shape, shape)

    def call(self, x):
        y = self.normalization(x)
        return x + self.attention(y, y)


NETWORKS = {
    **{name: lambda n=name: normalized(n) for name in NORMALIZATIONS},
    "spectral": spectral,
    "attention": embedded,
}
CASES = [
    (name, training)
    for name in NETWORKS
    for training in (False, True)
    # It writes its kernel in training mode, which is refused.
    if (name, training) != ("spectral", True)
]


def build(name):
    """Return a compiled network with fixed weights, and data."""
    generator = np.random.default_rng(0)
    keras.utils.clear_session()
    model = keras.Sequential([*NETWORKS[name](), layers.Dense(3)])
    model.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.set_weights([
        weight + generator.normal(scale=0.3, size=weight.shape)
        if variable.trainable
        else weight
        for variable, weight in zip(model.weights, fixed(model, generator))
    ])
    shape = model.input_shape[1:]
    if name == "attention":
        x = generator.integers(0, 9, (12, *shape))
    else:
        x = generator.normal(size=(12, *shape))
    return model, x, generator.integers(0, 3, 12)


def fixed(model, generator):
    """Return weights that do not depend on the backend's random numbers."""
    return [
        generator.normal(scale=0.3, size=weight.shape)
        if len(weight.shape) > 1
        else weight
        for weight in model.get_weights()
    ]


def main(path):
    results = {}
    for name, training in CASES:
        model, x, y = build(name)
        objective = sharpness.Objective(model, x, y, training=training)
        direction = np.random.default_rng(1).normal(size=objective.size)
        key = f"{name}/{training}"
        direction = direction.astype("float32")
        results[f"{key}/product"] = objective.product(direction)
        results[f"{key}/gauss_newton"] = objective.product(direction, True)
        results[f"{key}/eigenvalues"] = sharpness.hessian_eigenvalues(
            objective, k=3, tolerance=1e-5, verbose=0
        ).eigenvalues
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
