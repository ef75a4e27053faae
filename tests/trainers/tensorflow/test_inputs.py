"""Inputs that only TensorFlow has: strings, sparse and ragged tensors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_sam import sharpness
from tests import cases
from tests import models


@pytest.mark.parametrize("num_microbatches", [1, 3])
def test_strings_and_integers_are_inputs(num_microbatches):
    words = np.array(["red", "green", "blue", "red", "grey"] * 4)
    inputs = {
        "word": keras.Input((1,), dtype="string", name="word"),
        "number": keras.Input((5,), dtype="int32", name="number"),
    }
    lookup = layers.StringLookup(vocabulary=["red", "green", "blue"])
    word = layers.Flatten()(layers.Embedding(4, 3)(lookup(inputs["word"])))
    number = layers.CategoryEncoding(9, "multi_hot")(inputs["number"])
    outputs = models.probabilities()(layers.Concatenate()([word, number]))
    model = models.functional(
        inputs, outputs, {"num_microbatches": num_microbatches}
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = {"word": tf.constant(words[:, None]), "number": cases.TOKENS}
    logs = model.fit(x, cases.CLASSES, batch_size=8, verbose=0).history
    assert logs["sharpness"][0] > 0


def test_sparse_tensors_are_inputs():
    sparse = tf.sparse.from_dense(np.maximum(cases.FEATURES, 0))
    inputs = keras.Input((6,), sparse=True)
    model = models.functional(inputs, models.probabilities()(inputs), {})
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    logs = model.fit(sparse, cases.CLASSES, batch_size=8, verbose=0).history
    assert logs["sharpness"][0] > 0


def test_ragged_tensors_are_inputs():
    lengths = 1 + np.arange(cases.NUM_EXAMPLES) % 5
    values = np.arange(lengths.sum(), dtype="float32")[:, None]
    ragged = tf.RaggedTensor.from_row_lengths(values, lengths)

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = models.probabilities()

        def call(self, x):
            return self.head(tf.reduce_mean(x, axis=1))

    model = models.adopt(Net(), {})
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((ragged, cases.CLASSES)).batch(8)
    logs = model.fit(data, verbose=0).history
    assert logs["sharpness"][0] > 0


class TimesSparse(layers.Layer):
    """Takes sparse tensors alone."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x):
        return tf.nn.softmax(tf.sparse.sparse_dense_matmul(x, self.kernel))

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 3))


def takes_sparse(settings):
    inputs = keras.Input((6,), sparse=True)
    return models.functional(inputs, TimesSparse()(inputs), settings)


def takes_ragged(settings):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(30, 3)
            self.head = models.probabilities()

        def call(self, x):
            vectors = self.embedding(x.to_tensor())
            return self.head(tf.reduce_mean(vectors, axis=1))

    return models.adopt(Net(), settings)


RAGGED = tf.ragged.constant([
    [i % 30] * (1 + i % 5) for i in range(cases.NUM_EXAMPLES)
])
COMPOSITE = {
    "sparse": (
        takes_sparse,
        tf.sparse.from_dense(np.maximum(cases.FEATURES, 0)),
    ),
    "ragged": (takes_ragged, RAGGED),
}


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{"rho": 0.0}, {}, {"num_microbatches": 3}, {"ascent_fraction": 0.5}],
)
@pytest.mark.parametrize("kind", COMPOSITE)
def test_models_that_take_nothing_else_are_trained(kind, settings, run_eagerly):
    build, x = COMPOSITE[kind]
    model = build(settings)
    model.compile(
        "sgd",
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
        run_eagerly=run_eagerly,
    )
    data = tf.data.Dataset.from_tensor_slices((x, cases.CLASSES)).batch(8)
    logs = model.fit(data, verbose=0).history
    assert (logs["sharpness"][0] > 0) == (settings != {"rho": 0.0})


def test_sharpness_on_data_without_end_is_refused_at_once():
    inputs = keras.Input((6,))
    model = models.functional(inputs, models.probabilities()(inputs), {})
    model.compile("sgd", "sparse_categorical_crossentropy")
    data = tf.data.Dataset.from_tensor_slices((cases.FEATURES, cases.CLASSES))
    data = data.batch(8).repeat()
    with pytest.raises(ValueError, match="finite number of batches"):
        sharpness.Objective(model, data)
    objective = sharpness.Objective(model, data.take(3))
    assert objective.num_examples == 8 + 8 + 4
