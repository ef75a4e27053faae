"""Measures small networks with many layers on one backend.

    python -m tests.agreement.curvature FILE

Writes, for each network, the loss, a Hessian-vector product and a Gauss-Newton
product along fixed directions, and the three largest eigenvalues; for some of
them also what the other measures find, whose random vectors NumPy draws.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

from keras_sam import sharpness

LANCZOS_STEPS = 6

NORMALIZATIONS = {
    "batch": lambda: layers.BatchNormalization(),
    "layer": lambda: layers.LayerNormalization(),
    "group": lambda: layers.GroupNormalization(2),
    "rms": lambda: layers.RMSNormalization(),
    "unit": lambda: layers.UnitNormalization(),
}


def normalized(name):
    """Return a convolution and a normalization."""
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
# Of these layers, only batch normalization differs in training
# mode; spectral normalization then writes its kernel, which is refused.
CASES = [(name, False) for name in NETWORKS] + [("batch", True)]
# The other measures are NumPy on top of products, gradients and losses, so that
# a few networks will do.
MEASURED_CASES = [
    ("batch", False),
    ("batch", True),
    ("spectral", False),
    ("attention", False),
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
        results[f"{key}/loss"] = np.array(objective.value)
        for kind, gauss_newton in (("product", False), ("gauss_newton", True)):
            curvature = sharpness.Curvature(objective, gauss_newton)
            results[f"{key}/{kind}"] = curvature.product(direction)
        results[f"{key}/eigenvalues"] = sharpness.hessian_eigenvalues(
            objective, k=3, tolerance=1e-5, verbose=0
        ).eigenvalues
        if (name, training) in MEASURED_CASES:
            for kind, values in measured(objective).items():
                results[f"{key}/{kind}"] = values
    np.savez(path, **results)


def measured(objective):
    """Return the result of each measure, with a fixed number of probes."""
    trace = sharpness.hessian_trace(
        objective, rank=2, max_probes=10, tolerance=0.0
    )
    density = sharpness.spectral_density(
        objective, steps=LANCZOS_STEPS, num_probes=2, num_points=50
    )
    worst = sharpness.worst_case_sharpness(objective, rho=0.5, steps=5)
    average = sharpness.average_sharpness(objective, num_draws=4)
    surface = sharpness.loss_surface(objective, num_points=3)
    return {
        "trace": np.array([trace.trace, trace.standard_error]),
        "density": density.density,
        "worst_case": np.append(worst.per_batch, worst.one_step),
        "average": np.array([average.sharpness, average.standard_error]),
        "surface": surface.losses,
    }


if __name__ == "__main__":
    main(sys.argv[1])
