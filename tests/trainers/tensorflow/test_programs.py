"""What the programs hold that XLA makes of a step: nothing a TPU cannot run.

There was no TPU, and TensorFlow's wheel for CPUs has no kernels for one, so
these are the programs for CPUs.
"""

import re

import keras
import pytest
import tensorflow as tf

import keras_sam
from tests import cases
from tests import training

FORBIDDEN = {
    "a host callback": r"callback|xla_python|py_?func|HostCompute",
    "an infeed or outfeed": r"\b(infeed|outfeed)\b",
    "a dynamic dimension": r"\[[^\]]*<=\d",
    "sending to the host": r"\b(send|recv)\(",
}


@pytest.mark.parametrize("name", ["dense", "batch_norm_dropout"])
@pytest.mark.parametrize("method", ["sam", "look_sam", "ae_sam"])
def test_program_of_a_step_needs_no_host_and_has_static_shapes(name, method):
    task = cases.MODELS[name]
    model = task.build(cases.METHODS[method])
    training.compile_model(model, task)
    data = (tf.constant(task.x[:8]), tf.constant(task.y[:8]))
    model.train_step(data)  # creates the variables

    step = tf.function(model.train_step, jit_compile=True)
    program = step.experimental_get_compiler_ir(data)(stage="hlo")
    assert "ENTRY" in program
    for what, pattern in FORBIDDEN.items():
        assert not re.search(pattern, program), what


def compiled_functions(graph):
    """Return the graphs of what runs as a program of XLA, and all others."""
    functions = graph.as_graph_def(add_shapes=False).library.function
    by_name = {function.signature.name: function for function in functions}

    def called(nodes):
        for node in nodes:
            for attribute in node.attr.values():
                names = [attribute.func.name]
                names += [f.name for f in attribute.list.func]
                yield from (by_name[n] for n in names if n in by_name)

    inside = {}
    remaining = [f for f in functions if f.attr["_XlaMustCompile"].b]
    while remaining:
        function = remaining.pop()
        if function.signature.name not in inside:
            inside[function.signature.name] = function
            remaining.extend(called(function.node_def))
    outside = [f for n, f in by_name.items() if n not in inside]
    return list(inside.values()), outside


def operations(functions):
    return {node.op for function in functions for node in function.node_def}


BRANCHES_AND_LOOPS = {"If", "StatelessIf", "Case", "While", "StatelessWhile"}


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "look_sam"},
        {"method": "ae_sam"},
        {"rho": keras_sam.schedules.Periodic(5, 0.05)},
        {"num_microbatches": 2},
        {"num_microbatches": 2, "method": "ae_sam"},
    ],
    ids=["look_sam", "ae_sam", "periodic", "microbatches", "ae_sam_parts"],
)
def test_what_is_compiled_has_no_branches_or_loops(
    settings,
):
    """XLA takes the gradients of convolutions too long there on a CPU."""
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Conv2D(4, 3)(inputs)
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(outputs))
    model = keras_sam.SAMModel(inputs, outputs, **settings)
    model.compile("sgd", "mse", jit_compile=True)
    data = (tf.ones((8, 8, 8, 3)), tf.ones((8, 1)))
    model.train_on_batch(*data)

    step = tf.function(lambda data: model.train_function([data]))
    step = step.get_concrete_function(data)
    inside, outside = compiled_functions(step.graph)
    assert not operations(inside) & BRANCHES_AND_LOOPS
    work = {"Conv2DBackpropFilter", "AssignSubVariableOp"}
    assert work <= operations(inside)
    assert not work & operations(outside)
