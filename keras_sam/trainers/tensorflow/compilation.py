"""What XLA compiles: a whole step, or parts of it."""

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_sam.backend import common
from keras_sam.trainers.tensorflow.replicas import has_replicas
from keras_sam.trainers.tensorflow.replicas import is_on_tpu
from keras_sam.types import Tensor


def is_whole(model: keras.Model) -> bool:
    """Return whether one program may hold all of a step.

    It cannot reach the variables of several devices, see
    https://github.com/keras-team/keras/issues/19005. A TPU compiles what
    replicas run in any case.
    """
    return not has_replicas(model) and not is_on_tpu(model)


def is_train_step_whole(model: keras.Model) -> bool:
    """Return whether one program holds all of a train step.

    Not where it branches or loops: there XLA takes the gradients of
    convolutions tens of times as long on a CPU.
    """
    branches = model.sam.has_control_flow
    if model.built and not model.trainable_variables:
        branches = False  # Its steps are plain.
    return is_whole(model) and not branches


@contextlib.contextmanager
def compiled_only_if(condition: bool, model: keras.Model) -> Iterator[None]:
    """Make functions that Keras makes in this scope run without XLA.

    Args:
        condition: If true, they run as the model says instead.
        model: The model that makes them.
    """
    jit_compile = model.jit_compile
    model.jit_compile = jit_compile and condition
    try:
        yield
    finally:
        model.jit_compile = jit_compile


def compiled(model: keras.Model) -> Callable[[Callable[[], Any]], Any] | None:
    """Return how to call the parts of a train step.

    Returns:
        `call_compiled` if XLA is asked for and Keras' function of the whole
        step does not run with it; else `None`.
    """
    if is_train_step_whole(model) or is_on_tpu(model):
        return None
    is_asked_for = model.jit_compile and not tf.executing_eagerly()
    return call_compiled if is_asked_for else None


def call_compiled(function: Callable[[], Any]) -> Any:
    """Call a function in one XLA program and return its result.

    Args:
        function: Returns a nest of tensors.

    Returns:
        The same nest. What the function returns as it was is the same tensor.
    """
    leaves = common.Leaves()
    untouched: dict[int, Tensor] = {}

    def traced() -> list[Tensor]:
        tensors = leaves.of(function())
        graph = tf.compat.v1.get_default_graph()
        for i, tensor in enumerate(tensors):
            if getattr(tensor, "graph", graph) != graph:
                untouched[i] = tensor
        return tensors

    tensors = tf.function(traced, jit_compile=True, autograph=False)()
    return leaves.packed([untouched.get(i, t) for i, t in enumerate(tensors)])


def call_on_variables(model: keras.Model, function: Callable[[], None]) -> None:
    """Call a function that writes variables, with the parts of a train step.

    Args:
        model: The model that is trained.
        function: Reads and writes variables of the model and the optimizer.
            On several devices it is called as it is.
    """
    if compiled(model) is not None and not has_replicas(model):
        function = tf.function(function, jit_compile=True, autograph=False)
    function()
