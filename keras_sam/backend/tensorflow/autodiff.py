"""Gradients and loops on tensors."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from keras_sam.backend import common
from keras_sam.backend import keras_private
from keras_sam.types import Tensor
from keras_sam.types import Vector


def as_tensor(value: Tensor) -> Tensor:
    """Return what a variable reads as, as a tensor."""
    return tf.convert_to_tensor(value)


def auxiliary_and_gradients(
    function: Callable[[], tuple[Tensor, Any]],
    open_at: Callable[[Vector], AbstractContextManager[None]],
    weights: Vector,
    wanted: list[int],
) -> tuple[Any, list[Tensor | None]]:
    """Evaluate a function of the weights and differentiate it.

    Args:
        function: Returns a scalar and anything else.
        open_at: Opens a scope in which variables read as given weights.
        weights: What they read as: tensors or `tf.Variable`s.
        wanted: Which weights to differentiate by.

    Returns:
        The function's other result, and one gradient for each wanted weight: a
        tensor, `tf.IndexedSlices`, or `None` where the scalar does not depend
        on it.
    """
    sources = [weights[i] for i in wanted]
    with open_at(weights):
        # What else is trainable, in whatever network, is a constant.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            value, auxiliary = function()
        return auxiliary, tape.gradient(value, sources)


def perturbed_weights(
    variables: list[keras.Variable], values: Vector, perturbation: Vector
) -> Vector:
    """Return w + e for a second pass; see `common`.

    They are variables too. So what looks for variables finds them: layers
    that are computed again in the backward pass, `tf.custom_gradient`, a tape
    of the user's own.
    """
    shadows = [shadow(variable) for variable in variables]
    for variable, value, e in zip(shadows, values, perturbation):
        variable.assign(value + tf.cast(e, value.dtype))
    return shadows


def _shadow(variable: keras.Variable) -> tf.Variable:
    """Return the variable that holds w + e, one on each replica.

    It is never saved. Its memory stays: it cannot be emptied between steps,
    since graphs ask for the shape of a variable at any time.
    """
    with tf.init_scope():
        return tf.Variable(
            tf.zeros(variable.shape, variable.dtype),
            trainable=True,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.MEAN,
            name=f"perturbed_{variable.name}",
        )


shadow = common.PerVariable(_shadow)


def densify(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return a sparse gradient as a tensor, duplicate rows summed."""
    dense = tf.convert_to_tensor(gradient)
    # Of a sparse one TensorFlow may know no shape.
    dense.set_shape(weight.shape)
    return dense


def stored_values(gradient: Tensor) -> Tensor:
    """Return what a sparse gradient stores, a dense one as it is."""
    is_sparse = isinstance(gradient, tf.IndexedSlices)
    return gradient.values if is_sparse else gradient


def filled_like(gradient: Tensor, value: float) -> Tensor:
    """Return a gradient of the same kind, all of one value."""
    if isinstance(gradient, tf.IndexedSlices):
        values = filled_like(gradient.values, value)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.fill(tf.shape(gradient), tf.cast(value, gradient.dtype))


def take(tensor: Tensor, start: Tensor, size: Tensor) -> Tensor:
    """Return consecutive examples, of sparse tensors too."""
    if not isinstance(tensor, tf.SparseTensor):
        return common.take(tensor, start, size)
    rows = tf.cast(tf.stack([start, size]), tf.int64)
    whole = tensor.dense_shape[1:]
    taken = tf.sparse.slice(
        tensor,
        tf.concat([rows[:1], tf.zeros_like(whole)], axis=0),
        tf.concat([rows[1:], whole], axis=0),
    )
    # With the dimensions that are known.
    return tf.sparse.reshape(taken, [-1, *keras.ops.shape(tensor)[1:]])


def num_replicas() -> int:
    """Return how many replicas take each step together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_over_replicas(nest: Any) -> Any:
    """Return the mean of tensors over the replicas that call this."""
    leaves = common.Leaves()
    tensors = leaves.of(nest)
    if num_replicas() == 1 or not tensors:
        return nest
    context = tf.distribute.get_replica_context()
    return leaves.packed(
        context.all_reduce(tf.distribute.ReduceOp.MEAN, tensors)
    )


def cond(
    condition: Tensor,
    if_true: Callable[[], Any],
    if_false: Callable[[], Any],
) -> Any:
    """Return the result of one of two functions, of the same structure."""
    leaves = common.Leaves()
    tensors = keras.ops.cond(
        condition,
        lambda: leaves.of(if_true()),
        lambda: leaves.of(if_false()),
    )
    return leaves.packed(tensors)


def is_compiled_by_xla() -> bool:
    """Return whether what is traced now becomes a program of XLA."""
    graph = tf.compat.v1.get_default_graph()
    return control_flow_util.GraphOrParentsInXlaContext(graph)


def select(
    condition: Tensor,
    if_true: Callable[[], Any],
    if_false: Callable[[], Any],
) -> Any:
    """Return one of two nests.

    A conditional copies neither of them; XLA selects along with what comes
    next.
    """
    if not is_compiled_by_xla():
        return cond(condition, if_true, if_false)

    def of_tensors(first: Tensor, second: Tensor) -> Tensor:
        if isinstance(first, tf.IndexedSlices):
            values = of_tensors(first.values, second.values)
            return tf.IndexedSlices(values, first.indices, first.dense_shape)
        return tf.where(condition, first, second)

    first, second = common.Leaves(), common.Leaves()
    pairs = zip(first.of(if_true()), second.of(if_false()))
    return first.packed([of_tensors(*pair) for pair in pairs])


def unlisted_state(model: keras.Model) -> list[keras.Variable]:
    """Return variables that a step writes and Keras' lists leave out.

    They have to be known before they are written: a value from inside of a
    branch or a loop cannot be read outside.
    """
    seed = []
    # A trace for several replicas or workers cannot make it.
    if not tf.distribute.has_strategy():
        with tf.init_scope():
            seed = [keras_private.made_global_seed_variable()]
    return [*seed, *keras_private.unlisted_variables(model)]


def sum_in_turn(
    function: Callable[..., Any],
    state: list[Tensor],
    sizes: list[tuple[Tensor, Tensor, Tensor]],
) -> tuple[Any, list[Tensor], Any]:
    """Do what `common.sum_in_turn` does, in one loop for each size.

    One graph serves both sizes.

    Args:
        function: See `common`.
        state: See `common`.
        sizes: Start, size and number of parts, known or not.

    Returns:
        See `common`.
    """
    if tf.executing_eagerly():
        return common.sum_in_turn(function, state, sizes)
    leaves = common.Leaves()
    part = tf.function(
        lambda *arguments: leaves.of(function(*arguments)), autograph=False
    )
    carry: Any = None
    for start, size, count in sizes:
        if len(sizes) > 1:
            size = tf.convert_to_tensor(size, "int32")
        start = tf.convert_to_tensor(start)
        traced = part.get_concrete_function(state, start, size)
        if carry is None:
            carry = _at_first(leaves, traced.structured_outputs, state)
        carry = _loop(traced, leaves, carry, start, size, count)
    return carry


def _at_first(
    leaves: common.Leaves, specs: list[tf.TensorSpec], state: list[Tensor]
) -> tuple[Any, list[Tensor], Any]:
    zeros = [tf.zeros(spec.shape, spec.dtype) for spec in specs]
    total, _, last = leaves.packed(zeros)
    return total, state, last


def _loop(
    traced: Callable[..., Any],
    leaves: common.Leaves,
    carry: Any,
    start: Tensor,
    size: Tensor,
    count: Tensor,
) -> Any:
    def body(i: Tensor, tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        total, state, _ = leaves.packed(tensors)
        summand, state, last = leaves.packed(
            traced(state, start + i * size, size)
        )
        return i + 1, leaves.of((common.added(total, summand), state, last))

    _, tensors = tf.while_loop(
        lambda i, _: i < count,
        body,
        (tf.constant(0), leaves.of(carry)),
        # Parts at the same time would each hold gradients and weights.
        parallel_iterations=1,
    )
    return leaves.packed(tensors)
