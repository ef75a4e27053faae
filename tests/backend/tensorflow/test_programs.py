"""What the programs hold that XLA makes of a step: nothing a TPU cannot run.

There was no TPU. TensorFlow's wheel for CPUs can lower dense networks for one.
"""

import re

import keras
import pytest
import tensorflow as tf

from keras_sam.passes import state_variables
from keras_sam.step import Step
from keras_sam.types import Batch
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


@pytest.mark.parametrize("method", ["sam", "gsam"])
def test_gradients_of_both_passes_lower_for_a_tpu(method):
    task = cases.MODELS["dense"]
    model = task.build(cases.METHODS[method])
    training.compile_model(model, task)
    x, y = tf.constant(task.x[:8]), tf.constant(task.y[:8])
    model.train_step((x, y))
    variables = [
        *model.trainable_variables,
        *state_variables(model),
        *model.optimizer.variables,
    ]

    def gradients(values, x, y):
        with keras.StatelessScope([*zip(variables, values)]):
            state = [v.value for v in state_variables(model)]
            return Step(model, Batch(x, y, None)).run(state).gradients

    values = [tf.convert_to_tensor(v.value) for v in variables]
    program = tf.function(gradients, jit_compile=True, autograph=False)
    lower = program.experimental_get_compiler_ir(values, x, y)
    text = lower(stage="hlo", platform_name="TPU")
    # Two passes through two layers: products forward and backward in each.
    assert len(re.findall(r" dot\(", text)) >= 8
