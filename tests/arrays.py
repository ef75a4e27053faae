"""Variables and models as arrays."""

import keras
import numpy as np


def values(variables):
    """Return copies of the values: a compiled step on JAX frees its inputs."""
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables]


def flat(arrays):
    """Return arrays as one vector."""
    return np.concatenate([np.ravel(a) for a in arrays]).astype("float64")


def assert_same(first, second):
    """Assert that two nests of arrays are equal bit for bit."""
    keras.tree.map_structure(np.testing.assert_array_equal, first, second)


def copy_state(source, target):
    """Give one model the variables of another."""
    for variable, value in zip(target.variables, values(source.variables)):
        variable.assign(value)
