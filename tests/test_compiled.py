"""A compiled step is one program, also where it has loops and branches.

Not collected with PyTorch, which Keras runs eagerly.
"""

import keras
import pytest
from keras import layers

import keras_sam
from tests import marks
from tests import small_network
from tests.contract.twins import normal
from tests.methods.table import METHODS
from tests.small_network import GRAPH


class CountingDense(keras.layers.Dense):
    """Counts its calls: at run time if eager, else while tracing."""

    def __init__(self, units):
        super().__init__(units)
        self.num_calls = 0

    def call(self, inputs):
        self.num_calls += 1
        return super().call(inputs)


@pytest.mark.parametrize("num_microbatches", [1, 2])
@pytest.mark.parametrize("name", marks.slow_but(["sam", "look_sam"], METHODS))
def test_many_steps_are_traced_once(name, num_microbatches):
    row = METHODS[name]
    layer = CountingDense(1)
    inputs = keras.Input((3,))
    model = keras_sam.SAMModel(
        inputs,
        layer(inputs),
        method=row.method,
        rho=row.rho,
        num_microbatches=num_microbatches,
    )
    model.compile("sgd", "mse", **GRAPH)
    small_network.fit(model)
    after_first = layer.num_calls
    small_network.fit(model, epochs=3)
    assert layer.num_calls == after_first


@marks.slow
@pytest.mark.parametrize("name", ["weighted_sam", "look_sam", "ae_sam"])
def test_several_steps_in_one_execution_are_the_same_steps(name):
    after = []
    for count in (1, 3):
        model = small_network.of_method(
            name, {**GRAPH, "steps_per_execution": count}
        )
        small_network.fit(model, epochs=2)
        after.append(small_network.values(model.variables))
    small_network.assert_same(*after)


def count_calls(num_microbatches, num_examples):
    calls = []

    class Call(layers.Layer):
        def call(self, inputs):
            calls.append(None)
            return inputs

    inputs = keras.Input((3,))
    outputs = layers.Dense(1)(Call()(inputs))
    model = keras_sam.SAMModel(
        inputs, outputs, num_microbatches=num_microbatches
    )
    model.compile("sgd", "mse", **GRAPH)
    calls.clear()
    model.fit(
        normal(num_examples, 3),
        normal(num_examples, 1),
        batch_size=num_examples,
        verbose=0,
    )
    return len(calls)


def test_number_of_parts_does_not_change_the_size_of_the_program():
    assert count_calls(2, 16) == count_calls(8, 16)
