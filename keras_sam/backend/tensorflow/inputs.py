"""What an iterator of TensorFlow yields, as a step sees it."""

from typing import Any

import keras
import tensorflow as tf


def as_input(leaf: Any) -> Any:
    """Return a part of a batch as a tensor, replicas' shards as one."""
    if leaf is None or isinstance(leaf, tf.experimental.Optional):
        return None  # Keras has an empty optional where there is no data.
    if isinstance(leaf, tf.distribute.DistributedValues):
        strategy = tf.distribute.get_strategy()
        return tf.concat(strategy.experimental_local_results(leaf), axis=0)
    return leaf if tf.is_tensor(leaf) else keras.ops.convert_to_tensor(leaf)
