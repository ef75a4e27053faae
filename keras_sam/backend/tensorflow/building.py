"""The variables of a model, made before its steps are."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_sam.backend import keras_private


@contextlib.contextmanager
def outside_of_traces() -> Iterator[None]:
    """Make the variables of this scope outside of a trace that is going on.

    `tf.function` traces anew a function that makes variables in its first call.
    It notices through the graph that is the default one, in `tf.init_scope`
    too: so an empty one is put in its place. Strategies make variables of
    their own in the same way, and are left alone.
    """
    with contextlib.ExitStack() as scopes:
        if not (tf.executing_eagerly() or tf.distribute.has_strategy()):
            scopes.enter_context(tf.Graph().as_default())
            scopes.enter_context(tf.__internal__.eager_context.eager_mode())
        scopes.enter_context(tf.init_scope())
        yield


def build(model: keras.Model, data: Any) -> None:
    """Create whatever variables of model, loss and metrics are missing.

    They are called with the very batch, whatever kinds of tensors it has, and
    eagerly where steps are eager. What they compute and write is dropped.

    Args:
        model: A compiled model.
        data: What `keras.utils.unpack_x_y_sample_weight` takes.
    """
    if not keras_private.is_built(model):
        _call(model, *keras.utils.unpack_x_y_sample_weight(data))
    if model.optimizer is not None and not model.optimizer.built:
        with outside_of_traces():
            model.optimizer.build(model.trainable_variables)


def _call(model: keras.Model, x: Any, y: Any, sample_weight: Any) -> None:
    # What is computed here alone is not to run in each step of a graph.
    graph: Any = tf.__internal__.FuncGraph("build")
    in_graph = contextlib.nullcontext
    if not tf.executing_eagerly():
        in_graph = graph.as_default
    # Variables are initialized when the scope of Keras is left. Regularizers
    # are given what a scope says that they are.
    forward = keras.StatelessScope(collect_losses=True)
    with outside_of_traces(), forward, in_graph():
        y_pred = keras_private.call_in_training_mode(model, x)
    with outside_of_traces(), in_graph():
        values = [(v, tf.convert_to_tensor(v.value)) for v in model.variables]
        with keras.StatelessScope(values, collect_losses=True) as scope:
            scope.losses.extend(forward.losses)
            keras_private.compute_loss(model, x, y, y_pred, sample_weight)
            model.compute_metrics(x, y, y_pred, sample_weight)
