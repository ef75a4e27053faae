"""Dense Hessians, from products of the package and of NumPy functions."""

import itertools

import keras
import numpy as np

from keras_sam import sharpness


def hessian(objective, gauss_newton=False):
    """Return the matrix whose columns are the package's products."""
    curvature = sharpness.Curvature(objective, gauss_newton)
    columns = [
        curvature.product(unit)
        for unit in np.eye(curvature.size, dtype=curvature.dtype)
    ]
    return np.stack(columns, axis=1).astype("float64")


def by_differences(function, point, step=3e-4):
    """Return the Hessian of a NumPy function, by central differences.

    In float64 its error is about 1e-7 times the fourth derivative, and 1e-9
    times the function for rounding.
    """
    size = len(point)
    units = step * np.eye(size)
    result = np.zeros((size, size))
    for i, j in itertools.combinations_with_replacement(range(size), 2):
        corners = [
            sign * function(point + a * units[i] + b * units[j])
            for a, b, sign in (
                (1, 1, 1),
                (1, -1, -1),
                (-1, 1, -1),
                (-1, -1, 1),
            )
        ]
        result[i, j] = result[j, i] = sum(corners) / (4 * step**2)
    return result


def model(*layers, loss, size):
    """Return a compiled sequential model with inputs of a size."""
    network = keras.Sequential([keras.Input((size,)), *layers])
    network.compile("sgd", loss)
    return network


def objective(network, x, y, **options):
    """Return the objective, in batches of unequal size."""
    return sharpness.Objective(network, x, y, batch_size=8, **options)


def weights_of(network):
    """Return the trainable weights as a flat float64 vector."""
    parts = [
        keras.ops.convert_to_numpy(v).ravel()
        for v in network.trainable_variables
    ]
    return np.concatenate(parts).astype("float64")


def regression_data(num_examples=20, size=3, outputs=1):
    """Return inputs and targets, normally distributed."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(num_examples, size))
    return x, generator.normal(size=(num_examples, outputs))


def label_data(num_examples=20, size=3, classes=3):
    """Return normally distributed inputs and random labels."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(num_examples, size))
    return x, generator.integers(0, classes, num_examples)
