"""Parameters that Keras does not know are refused, and nothing is written."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

import keras_sam
from tests.contract.twins import normal

X, Y = normal(8, 4), normal(8, 4)
HIDDEN = torch.nn.Parameter(torch.ones(4))  # In no layer.


def module(make):
    return lambda: layers.TorchModuleWrapper(make(), output_shape=(None, 4))


class Attribute(layers.Layer):
    def __init__(self):
        super().__init__()
        self.raw = torch.nn.Parameter(torch.ones(4))

    def call(self, inputs):
        return inputs * self.raw


class InContainers(layers.Layer):
    def __init__(self):
        super().__init__()
        self.parts = {"scales": [torch.nn.Parameter(torch.ones(4))]}

    def call(self, inputs):
        return inputs * self.parts["scales"][0]


class Buffer(layers.Layer):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(4))

    def call(self, inputs):
        return inputs - self.mean


class Inner(layers.Layer):
    """Holds a layer with a parameter, out of sight of `model.layers`."""

    def __init__(self):
        super().__init__()
        self.inner = Attribute()

    def call(self, inputs):
        return self.inner(inputs)


class ReadsHidden(layers.Layer):
    def call(self, inputs):
        return inputs * HIDDEN


REFUSED = {
    "module": (module(lambda: torch.nn.Linear(4, 4)), "wraps a `torch.nn.Mod"),
    "module_with_buffers": (
        module(lambda: torch.nn.BatchNorm1d(4, affine=False)),
        "wraps a `torch.nn.Module`.*BatchNorm1d",
    ),
}
WARNED_OF = {
    "attribute": (Attribute, "holds the parameter or buffer 'raw'"),
    "in_containers": (InContainers, "holds the parameter or buffer 'scales'"),
    "buffer": (Buffer, "holds the parameter or buffer 'mean'"),
    "inner": (Inner, "holds the parameter or buffer 'raw'"),
}


def network(layer):
    inputs = keras.Input((4,))
    outputs = layers.Dense(4)(layer(layers.Dense(4)(inputs)))
    model = keras_sam.SAMModel(inputs, outputs)
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("name", REFUSED)
def test_model_with_raw_parameters_is_refused_and_left_as_it_was(name):
    make, message = REFUSED[name]
    model = network(make())
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, verbose=0)
    for actual, expected in zip(model.get_weights(), before):
        np.testing.assert_array_equal(actual, expected)
    assert int(model.optimizer.iterations) == 0


def test_module_without_parameters_and_buffers_is_trained():
    model = network(module(torch.nn.Tanh)())
    logs = model.fit(X, Y, verbose=0).history
    assert logs["sharpness"][0] > 0


@pytest.mark.parametrize("name", WARNED_OF)
def test_model_with_raw_parameters_is_warned_of_and_trained(name):
    make, message = WARNED_OF[name]
    model = network(make())
    with pytest.warns(UserWarning, match=message):
        logs = model.fit(X, Y, verbose=0).history
    assert logs["sharpness"][0] > 0


@pytest.mark.parametrize("requires_grad", [True, False])
def test_parameter_in_a_closure_is_a_constant(requires_grad):
    before = HIDDEN.detach().clone()
    HIDDEN.requires_grad_(requires_grad)
    try:
        model = network(ReadsHidden())
        assert model.fit(X, Y, verbose=0).history["sharpness"][0] > 0
    finally:
        HIDDEN.requires_grad_(True)
    assert torch.equal(HIDDEN, before) and HIDDEN.grad is None
