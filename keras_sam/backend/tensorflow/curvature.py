"""Products of a direction with second derivatives, by nested tapes."""

import contextlib
import functools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_sam.types import Tensor
from keras_sam.types import Vector


def compiled(function: Callable[..., Any], jit_compile: bool) -> Any:
    """Return a function of nests of tensors, traced once for their shapes."""
    # A partial is an object of its own, so that TensorFlow does not take the
    # functions of several models for one that is traced again and again.
    return tf.function(
        functools.partial(function), autograph=False, jit_compile=jit_compile
    )


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
    """Return the Hessian of `function` at `weights` times a direction."""
    with tf.GradientTape() as outer:
        outer.watch(weights)
        _, first = gradient(function, weights)
    second = outer.gradient(first, weights, output_gradients=direction)
    return _dense(second, weights)


def gauss_newton_product(
    network: Callable[[Vector], tuple[Any, Any]],
    loss: Callable[[Any, Any], Tensor],
    weights: Vector,
    direction: Vector,
) -> Vector:
    """Return J^T H J times a direction.

    Args:
        network: Returns predictions, and anything else that the loss needs.
        loss: Takes these.
        weights: Where J, the derivative of the predictions, and H, the
            Hessian of the loss by the predictions, are taken.
        direction: Vector.

    Returns:
        A vector.
    """
    with tf.GradientTape() as tape:
        tape.watch(weights)
        with tf.autodiff.ForwardAccumulator(weights, direction) as forward:
            nest, auxiliary = network(weights)
            # Copies, without the logits by which Keras would replace them.
            predictions = [tf.identity(leaf) for leaf in tf.nest.flatten(nest)]
    change = forward.jvp(
        predictions, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )

    def of_predictions(flat: Vector) -> Tensor:
        return loss(tf.nest.pack_sequence_as(nest, flat), auxiliary)

    bend = hessian_product(of_predictions, predictions, change)
    back = tape.gradient(predictions, weights, output_gradients=bend)
    return _dense(back, weights)


@contextlib.contextmanager
def exact_second_derivatives() -> Iterator[None]:
    """Give `tf.nn.moments` its true second derivative in this scope.

    TensorFlow's own stops the gradient by the mean inside the variance: that
    leaves the first derivative as it is, and makes the second one wrong, in
    batch, layer and group normalization. Only what is traced in this scope is
    concerned.
    """
    own = tf.nn.moments
    tf.nn.moments = _moments
    try:
        yield
    finally:
        tf.nn.moments = own


def _moments(
    x: Tensor,
    axes: Any,
    shift: Any = None,
    keepdims: bool = False,
    name: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return mean and variance, as `tf.nn.moments` does."""
    del shift, name
    wide = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
    mean = tf.reduce_mean(wide, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(wide - mean), axes, keepdims=True)
    if not keepdims:
        mean, variance = tf.squeeze(mean, axes), tf.squeeze(variance, axes)
    return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def _dense(gradients: Vector, weights: Vector) -> Vector:
    return [
        tf.zeros_like(w) if g is None else tf.convert_to_tensor(g)
        for g, w in zip(gradients, weights)
    ]
