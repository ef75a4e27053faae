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
from tests.engine.test_plain import Traced
from tests.methods.table import METHODS
from tests.small_network import GRAPH


@pytest.mark.parametrize("num_microbatches", [1, 2])
@pytest.mark.parametrize("name", marks.slow_but(["sam", "look_sam"], METHODS))
def test_many_steps_are_traced_once(name, num_microbatches):
    row = METHODS[name]
    traced = Traced()
    inputs = keras.Input((3,))
    model = keras_sam.SAMModel(
        inputs,
        layers.Dense(1)(traced(inputs)),
        method=row.method,
        rho=row.rho,
        num_microbatches=num_microbatches,
    )
    model.compile("sgd", "mse", **GRAPH)
    small_network.fit(model)
    after_first = traced.count
    small_network.fit(model, epochs=3)
    assert traced.count == after_first


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
    traced = Traced()
    inputs = keras.Input((3,))
    outputs = layers.Dense(1)(traced(inputs))
    model = keras_sam.SAMModel(
        inputs, outputs, num_microbatches=num_microbatches
    )
    model.compile("sgd", "mse", **GRAPH)
    traced.count = 0
    model.fit(
        normal(num_examples, 3),
        normal(num_examples, 1),
        batch_size=num_examples,
        verbose=0,
    )
    return traced.count


def test_number_of_parts_does_not_change_the_size_of_the_program():
    assert count_calls(2, 16) == count_calls(8, 16)
