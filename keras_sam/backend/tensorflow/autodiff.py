"""Gradients and loops on tensors."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_sam.types import Tensor
from keras_sam.types import Vector


def read(variable: keras.Variable) -> Tensor:
    """Return the value of a variable as a tensor."""
    return tf.convert_to_tensor(variable.value)


def value_and_gradients(
    function: Callable[[Vector], tuple[Tensor, Any]],
    weights: Vector,
    wanted: list[int],
) -> tuple[Tensor, Any, Vector]:
    """Evaluate a function of the weights and differentiate it.

    Args:
        function: Takes weights, returns a scalar and anything else.
        weights: Tensors.
        wanted: Which weights to differentiate by.

    Returns:
        The scalar, the function's other result, and one gradient per wanted
        weight: a tensor, `tf.IndexedSlices`, or `None` where the scalar does
        not depend on it.

    Raises:
        ValueError: If the function reads a trainable `tf.Variable`.
    """
    sources = [weights[i] for i in wanted]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        value, auxiliary = function(weights)
    if unreachable := tape.watched_variables():
        names = ", ".join(variable.name for variable in unreachable)
        raise ValueError(
            "The model reads trainable variables that Keras does not know, so "
            "that they can be neither perturbed nor trained. Create them with "
            f"`self.add_weight()`. Received: {names}"
        )
    return value, auxiliary, tape.gradient(value, sources)


def densify(gradient: Tensor) -> Tensor:
    """Return a sparse gradient as a tensor, duplicate rows summed."""
    return tf.convert_to_tensor(gradient)


def num_replicas() -> int:
    """Return how many replicas take each step together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_over_replicas(nest: Any) -> Any:
    """Return the mean of tensors over the replicas that call this."""
    tensors = tf.nest.flatten(nest)
    if num_replicas() == 1 or not tensors:
        return nest
    context = tf.distribute.get_replica_context()
    mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, tensors)
    return tf.nest.pack_sequence_as(nest, mean)


def cond(
    condition: Tensor,
    if_true: Callable[[], Any],
    if_false: Callable[[], Any],
) -> Any:
    """Return the result of one of two functions."""
    return keras.ops.cond(condition, if_true, if_false)


def draw_purely(function: Callable[[], Any]) -> Any:
    """Return what a function returns: seeds are variables of Keras."""
    return function()


def traced_once(function: Callable[..., Any]) -> Any:
    """Return a function whose calls share their graph.

    It is traced once for tensors of the same shapes and dtypes.
    """
    return tf.function(function, autograph=False)


def shared_size(size: Tensor) -> Tensor:
    """Return the size of parts as a tensor: one graph serves all sizes."""
    return tf.convert_to_tensor(size, "int32")


def scan(
    function: Any,
    carry: Any,
    start: Tensor,
    size: Tensor,
    count: Tensor,
    num_rows: Tensor,
    like: Any = None,
) -> tuple[Any, Any]:
    """Call a function on consecutive parts of the same size.

    That is, `carry, output = function(carry, start + i * size, size)` for i
    from 0 to `count - 1`.

    Args:
        function: What `traced_once` returned. Keeps the structure, shapes and
            dtypes of `carry`. Returns a new carry and a nest of tensors of
            shape `(num_rows, ...)`.
        carry: Nest of tensors.
        start: Integer scalar, where the first part starts.
        size: Integer scalar, the size of each part.
        count: Integer scalar >= 0; >= 1 if `like` is `None`.
        num_rows: Integer scalar, the first dimension of every output.
        like: Nest of tensors of shape `(n, ...)` with the dimensions of the
            outputs after the first, which may be known only at run time.

    Returns:
        The last carry, and the outputs of shape `(count * num_rows, ...)`.
    """
    if tf.executing_eagerly():
        function = function.python_function
        outputs = (
            [] if like is None else [tf.nest.map_structure(_none_of, like)]
        )
        for i in range(int(count)):
            carry, output = function(carry, start + i * size, size)
            outputs.append(output)
        return carry, tf.nest.map_structure(_concatenate, *outputs)

    traced = function.get_concrete_function(
        carry, tf.convert_to_tensor(start), size
    )
    specs = traced.structured_outputs[1]
    arrays = tf.nest.map_structure(
        lambda spec: tf.TensorArray(
            spec.dtype, count, element_shape=spec.shape
        ),
        specs,
    )

    def body(i: Tensor, carry: Any, arrays: Any) -> tuple[Tensor, Any, Any]:
        carry, output = traced(carry, start + i * size, size)
        return (
            i + 1,
            carry,
            tf.nest.map_structure(lambda a, t: a.write(i, t), arrays, output),
        )

    _, carry, arrays = tf.while_loop(
        lambda i, *_: i < count,
        body,
        (tf.constant(0), carry, arrays),
        # Parts at the same time would each hold gradients and weights.
        parallel_iterations=1,
    )

    def merged(array: tf.TensorArray, spec: tf.TensorSpec, like: Any) -> Tensor:
        rest = [-1] * (len(spec.shape) - 1)
        if like is not None:
            rest = tf.shape(like)[1:]
        stacked = tf.raw_ops.TensorListStack(
            input_handle=array.flow,
            element_shape=tf.concat([[num_rows], tf.cast(rest, tf.int32)], 0),
            element_dtype=array.dtype,
        )
        result = tf.reshape(
            stacked, tf.concat([[-1], tf.shape(stacked)[2:]], 0)
        )
        return tf.ensure_shape(result, [None, *spec.shape[1:]])

    if like is None:
        like = tf.nest.map_structure(lambda spec: None, specs)
    return carry, tf.nest.map_structure(merged, arrays, specs, like)


def _none_of(tensor: Tensor) -> Tensor:
    return tensor[:0]


def _concatenate(*tensors: Tensor) -> Tensor:
    return tf.concat(tensors, axis=0)
