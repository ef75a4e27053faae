"""What the graph of a step writes."""

import keras
import tensorflow as tf
from keras import layers

from tests.contract.test_state import RHO
from tests.contract.twins import chain
from tests.contract.twins import twins


def test_graph_of_a_step_writes_each_weight_once():
    _, sam = twins(
        chain(
            lambda: keras.Input((3,)),
            lambda: layers.Dense(4),
            layers.BatchNormalization,
        ),
        rho=RHO,
    )
    sam.compile(keras.optimizers.SGD(0.1), "mse")
    data = (tf.zeros((2, 3)), tf.zeros((2, 4)))
    graph = tf.function(sam.train_step).get_concrete_function(data).graph
    written = [
        operation.inputs[0].name
        for operation in graph.get_operations()
        if operation.type.startswith("Assign")
    ]
    captured = {id(ref): tensor for ref, tensor in graph.captures}
    for variable in sam.variables:
        handle = captured[id(variable.value.handle)]
        assert written.count(handle.name) == 1
