"""Rematerialization: layers that are computed again in the backward pass.

They read what they read in the forward pass, in both passes of a step. What
memory that saves is in `tests/backend/`.
"""

import contextlib

import keras
import pytest
from keras import layers

import keras_sam
from tests import frameworks
from tests.contract.twins import normal

SCOPES = {
    "full": {},
    "activations": {},
    "larger_than": {"output_size_threshold": 2},
    "list_of_layers": {"layer_names": [f"inner_{i}" for i in range(6)]},
}
"""Arguments of `keras.RematScope` by mode."""


class Block(layers.Layer):
    """A few dense layers.

    Args:
        way: How they are computed again: `"function"`, for `keras.remat`, or
            a mode of `keras.RematScope`; `"none"` for not.
        units: Integer.
        depth: Integer, how many layers there are.
    """

    def __init__(self, way, units=8, depth=2):
        super().__init__()
        scope = contextlib.nullcontext()
        if way in SCOPES:
            scope = keras.RematScope(mode=way, **SCOPES[way])
        with scope:
            self.inner = [
                layers.Dense(units, activation="tanh", name=f"inner_{i}")
                for i in range(depth)
            ]
        self.function = self.compute
        if way == "function":
            self.function = keras.remat(self.compute)

    def build(self, shape):
        for layer in self.inner:
            layer.build(shape)

    def compute(self, x):
        for layer in self.inner:
            x = layer(x)
        return x

    def call(self, x):
        return self.function(x)


def trained(way, mode, **settings):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    outputs = layers.Dense(1)(Block(way)(inputs))
    model = keras_sam.SAMModel(inputs, outputs, **settings)
    model.compile(keras.optimizers.SGD(0.1), "mse", **mode)
    model.fit(normal(8, 8), normal(8, 1), batch_size=4, epochs=2, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("settings", [{"rho": 0.5}, {"num_microbatches": 2}])
@pytest.mark.parametrize(
    "way, mode",
    [
        pytest.param(way, mode, id=f"{way}-{name}")
        for kind, modes in frameworks.REMAT.items()
        for way in (SCOPES if kind == "scope" else [kind])
        for name, mode in modes.items()
    ],
)
def test_weights_are_trained_as_without(way, mode, settings):
    expected = trained("none", mode, **settings)
    for a, b in zip(trained(way, mode, **settings), expected, strict=True):
        # Four steps of sums of eight products of numbers of order one.
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5)
