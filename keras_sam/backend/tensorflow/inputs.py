"""What an iterator of TensorFlow yields, as a step sees it."""

from typing import Any

import keras
import tensorflow as tf

from keras_sam.backend.tensorflow.autodiff import is_compiled_by_xla
from keras_sam.types import Tensor


def as_input(leaf: Any) -> Any:
    """Return a part of a batch as a tensor, replicas' shards as one."""
    if leaf is None or isinstance(leaf, tf.experimental.Optional):
        return None  # Keras has an empty optional where there is no data.
    if isinstance(leaf, tf.distribute.DistributedValues):
        strategy = tf.distribute.get_strategy()
        return tf.concat(strategy.experimental_local_results(leaf), axis=0)
    return leaf if tf.is_tensor(leaf) else keras.ops.convert_to_tensor(leaf)


def with_equal_lengths(
    nest: Any, lengths: dict[str, Tensor], message: str
) -> Any:
    """Return a nest that can only be read if its tensors are equally long.

    Args:
        nest: Nest of tensors.
        lengths: Their lengths by name.
        message: What an error says.
    """
    (first, length), *others = lengths.items()
    checks = [
        _equality(
            length, other, f"{message} Received: rows of {first} and {name}:"
        )
        for name, other in others
        if not (isinstance(length, int) and isinstance(other, int))
    ]
    with tf.control_dependencies(checks):
        return keras.tree.map_structure(
            lambda t: None if t is None else tf.identity(t), nest
        )


def _equality(first: Tensor, second: Tensor, message: str) -> Any:
    """Return what raises if two lengths differ when a graph runs."""
    if not is_compiled_by_xla():
        return tf.debugging.assert_equal(first, second, message=message)
    # XLA leaves assertions out; a shape that does not fit, it refuses.
    zeros = tf.zeros(tf.reshape(second, (1,)))
    return tf.reshape(
        zeros, tf.reshape(first, (1,)), name="inputs_of_different_lengths"
    )
