"""TensorFlow: the train step under `tf.function`, replicas, XLA."""
