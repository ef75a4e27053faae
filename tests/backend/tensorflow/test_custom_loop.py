"""A loop of one's own under `tf.function`."""

import keras
import numpy as np
import tensorflow as tf

import keras_sam
from tests.test_custom_loop import data
from tests.test_custom_loop import loss_of
from tests.test_custom_loop import network


def test_a_loop_may_be_compiled_and_return_more_than_the_loss():
    x, y = data()
    model = network(keras.Model)
    before = model.layers[2].moving_mean.numpy()

    @tf.function
    def step():
        result = keras_sam.sharpness_aware_gradients(
            lambda: (loss_of(model, x, y)(), {"size": tf.shape(x)[0]}),
            model.trainable_variables,
        )
        return result.loss, result.rise, result.auxiliary

    loss, rise, auxiliary = step()
    assert float(loss) > 0 and float(rise) != 0
    assert int(auxiliary["size"]) == 32
    assert np.abs(model.layers[2].moving_mean.numpy() - before).max() > 0
