"""What the programs hold that XLA makes of a step: nothing a TPU cannot run.

There was no TPU, and TensorFlow's wheel for CPUs has no kernels for one, so
these are the programs for CPUs.
"""

import re

import pytest
import tensorflow as tf

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
