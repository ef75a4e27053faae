"""Draws from the generator of PyTorch, which dropout without a seed uses."""

import keras
import numpy as np
import torch
from keras import layers

import keras_sam
from keras_sam import backend
from tests.contract.twins import normal


def network(make, **settings):
    inputs = keras.Input((4,))
    outputs = layers.Dense(1)(layers.Dropout(0.5)(inputs))
    model = make(inputs, outputs, **settings)
    model.compile("sgd", "mse")
    return model


def test_a_step_draws_as_often_as_a_plain_one():
    states = []
    for make in (keras.Model, keras_sam.SAMModel):
        model = network(make)
        torch.manual_seed(3)
        model.train_on_batch(normal(4, 4), normal(4, 1))
        states.append(torch.get_rng_state().numpy())
    np.testing.assert_array_equal(*states)


def test_verify_draws_nothing():
    model = network(keras_sam.SAMModel)
    before = torch.get_rng_state().numpy()
    keras_sam.verify(model, normal(4, 4), normal(4, 1))
    np.testing.assert_array_equal(torch.get_rng_state().numpy(), before)


def test_state_of_the_generator_is_read_and_written_as_a_variable():
    [state] = backend.generator_variables()[1:2]
    before = state.value
    torch.rand(1)
    assert not torch.equal(state.value, before)
    state.assign(before)
    assert torch.equal(torch.get_rng_state(), before)
