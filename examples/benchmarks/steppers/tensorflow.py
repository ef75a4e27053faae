"""TensorFlow, and `SharpnessAwareMinimization` of Keras 2."""

import tensorflow as tf

# Every new train function comes from the same line of Keras, and TensorFlow
# warns about repeated traces of one function.
tf.get_logger().setLevel("ERROR")

MODES = {"graph": {"jit_compile": False}, "XLA": {"jit_compile": True}}
PEER = "tf_keras"


class Stepper:
    """Runs steps on batches of unknown size, as `fit` on arrays does."""

    def __init__(self, model, x, y):
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(len(x))
        self._iterator = iter(data.cache().repeat())
        self._model = model

    def step(self):
        """Run a step; the first one makes the train function."""
        if self._model.train_function is None:
            self._model.make_train_function()
        self._model.train_function(self._iterator)

    def wait(self):
        """Return when all steps are done, also on an asynchronous device."""
        self._model.trainable_variables[-1].numpy()


def make_peer(network, x, y, arguments):
    """Return a stepper; its first pass is not in training mode."""
    import tf_keras

    inputs, outputs, _ = network(tf_keras)
    model = tf_keras.models.experimental.SharpnessAwareMinimization(
        tf_keras.Model(inputs, outputs), rho=0.05
    )
    model.compile(
        optimizer=tf_keras.optimizers.SGD(0.01, momentum=0.9),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **arguments,
    )
    return Stepper(model, x, y)
