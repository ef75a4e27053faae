"""Variables that their gradient overwrites: the scales of float8.

The table of side effects in `keras_sam/engine/__init__.py`, the row of these.
"""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from tests.contract.twins import copy_state
from tests.contract.twins import normal
from tests.frameworks import GRAPH
from tests.methods.table import NAMES
from tests.methods.table import WITH_CLEAN_PASS

X, Y = normal(16, 4), normal(16, 1)


def quantized(**settings):
    inputs = keras.Input((4,))
    model = keras_sam.SAMModel(
        inputs, layers.Dense(1, name="dense")(inputs), **settings
    )
    model.quantize("float8")
    # On TensorFlow Keras has no eager step of such layers.
    model.compile(keras.optimizers.SGD(0.01), "mse", **GRAPH)
    return model


def scales(model):
    """Return what describes the inputs and the kernel at w."""
    dense = model.get_layer("dense")
    return [
        keras.ops.convert_to_numpy(getattr(dense, f"{of}_{what}"))
        for of in ("inputs", "kernel")
        for what in ("scale", "amax_history")
    ]


# A method of one pass is at w + e, where its kernel is another.
@pytest.mark.parametrize("method", sorted({*NAMES} & {*WITH_CLEAN_PASS}))
def test_scales_are_those_of_a_plain_step(method):
    plain, sam = quantized(rho=0.0), quantized(method=method, rho=0.5)
    for _ in range(3):
        copy_state(sam, plain)
        for model in (plain, sam):
            model.train_on_batch(X, Y)
        for actual, expected in zip(scales(sam), scales(plain)):
            np.testing.assert_array_equal(actual, expected)
    largest = scales(sam)[1].max()
    # Rounded once.
    np.testing.assert_allclose(largest, np.abs(X).max(), rtol=2**-7)


@pytest.mark.parametrize("perturb", ["all", lambda variable: True])
def test_scales_are_not_perturbed(perturb):
    model = quantized(perturb=perturb)
    model.train_on_batch(X, Y)
    weights = model.trainable_variables
    assert len(weights) > 2
    _, perturbed = keras_sam.engine.roles.of_sam_model(model)
    assert [weights[i].name for i in perturbed] == ["kernel", "bias"]
