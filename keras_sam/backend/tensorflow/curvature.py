"""Products of a direction with second derivatives, by nested tapes."""

import contextlib
import functools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_sam.types import Tensor
from keras_sam.types import Vector

STOP_GRADIENT = "KerasSamStopGradient"
"""The name of a gradient of `tf.stop_gradient`, see `_exact_moments`."""


def compiled(function: Callable[..., Any], jit_compile: bool) -> Any:
    """Return a function of nests of tensors, traced once for their shapes."""
    # A partial is an object of its own, so that TensorFlow does not take the
    # functions of several models for one that is traced again and again.
    traced = tf.function(
        functools.partial(function), autograph=False, jit_compile=jit_compile
    )

    def call(*arguments: Any) -> Any:
        # `tf.gradients` needs a graph, also where functions run eagerly.
        if tf.config.functions_run_eagerly():
            return traced.get_concrete_function(*arguments)(*arguments)
        return traced(*arguments)

    return call


def gradient(
    function: Callable[[Vector], Tensor], weights: Vector
) -> tuple[Tensor, Vector]:
    """Return the value and the dense gradient, zero where it is `None`."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = function(weights)
    return value, _dense(tape.gradient(value, weights), weights)


def hessian_product(
    function: Callable[[Vector], Tensor], weights: Vector, direction: Vector
) -> Vector:
    """Return the Hessian of `function` at `weights` times a direction.

    By `tf.gradients`, because tapes do not look for the gradients that
    `_exact_moments` puts in a graph.
    """
    with _exact_moments():
        value = function(weights)
    first = _dense(tf.gradients(value, weights), weights)
    return _dense(tf.gradients(first, weights, direction), weights)


@contextlib.contextmanager
def _exact_moments() -> Iterator[None]:
    """Give variances their true second derivative in what is traced here.

    `tf.nn.moments` computes mean((x - stop_gradient(m))^2) with m = mean(x).
    The gradient by m is -2 mean(x - m) = 0, so that to stop it leaves the first
    derivative of a variance as it is. But the second one loses -2 dm dm^T,
    which is 4 to 28 % of a Hessian with batch, layer or group normalization.

    TensorFlow has a switch for that: a graph can give the operations made in
    it another gradient. Loops and branches trace their bodies into graphs of
    their own, but a function that places operations on devices is called for
    these too. It switches each graph when it sees the first operation in it,
    and places nothing. So no thread sees what another one measures, and
    nothing outlives the trace.
    """
    graphs: set[tf.Graph] = set()
    with contextlib.ExitStack() as switched:

        def switch(operation: tf.Operation) -> str:
            graph = operation.graph
            if graph not in graphs:
                graphs.add(graph)
                switched.enter_context(
                    graph.gradient_override_map({"StopGradient": STOP_GRADIENT})
                )
            return operation.device

        with tf.compat.v1.device(switch):
            yield


@tf.RegisterGradient(STOP_GRADIENT)
def _stop_gradient_gradient(
    operation: tf.Operation, upstream: Tensor
) -> Tensor | None:
    """Return the gradient by a mean in `tf.nn.moments`, and `None` elsewhere.

    Only that operation stops the mean of x where it is subtracted from x and
    squared, in a scope of its name. Without the name it could be a user's own
    variance, whose mean may be used elsewhere, where to stop its gradient
    makes a difference.

    Args:
        operation: A `tf.stop_gradient`.
        upstream: The gradient by what it returned.

    Returns:
        The gradient by what it was given.
    """
    scope = operation.name.split("/")[-2:][0]
    mean = operation.inputs[0].op
    is_centering = any(
        user.type == "SquaredDifference" and user.inputs[0] is mean.inputs[0]
        for user in operation.outputs[0].consumers()
    )
    if scope.startswith("moments") and mean.type == "Mean" and is_centering:
        return upstream
    return None


def linearized(
    network: Callable[[Vector], tuple[Vector, Any]],
    weights: Vector,
    direction: Vector,
) -> tuple[Vector, Any, Vector, Callable[[Vector], Vector]]:
    """Return what a network returns, J times a direction, and u -> J^T u.

    J is the derivative of its first result, the list of predictions.
    """
    with tf.GradientTape() as tape:
        tape.watch(weights)
        with tf.autodiff.ForwardAccumulator(weights, direction) as forward:
            predictions, auxiliary = network(weights)
            # Copies, without the logits by which Keras would replace them.
            predictions = [tf.identity(leaf) for leaf in predictions]
    change = forward.jvp(
        predictions, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )

    def pull_back(upstream: Vector) -> Vector:
        found = tape.gradient(predictions, weights, output_gradients=upstream)
        return _dense(found, weights)

    return predictions, auxiliary, change, pull_back


def _dense(gradients: Vector, weights: Vector) -> Vector:
    return [
        tf.zeros_like(w) if g is None else tf.convert_to_tensor(g)
        for g, w in zip(gradients, weights)
    ]
