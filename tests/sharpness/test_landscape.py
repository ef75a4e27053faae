"""Filters, and lines to another model."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sam import sharpness
from keras_sam.sharpness import filters
from tests.sharpness import dense


def network(seed=1):
    keras.utils.set_random_seed(seed)
    return dense.model(
        layers.Dense(4, activation="tanh"),
        layers.BatchNormalization(),
        layers.Dense(3, activation="softmax"),
        loss="sparse_categorical_crossentropy",
        size=3,
    )


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (layers.Dense(4), (2, 3), [[1], []]),
        (layers.Conv2D(4, 3), (2, 5, 5, 3), [[3], []]),
        (layers.Conv2DTranspose(4, 3), (2, 5, 5, 3), [[2], []]),
        (layers.DepthwiseConv2D(3), (2, 5, 5, 3), [[2, 3], []]),
        (layers.EinsumDense("abc,cde->abde", (5, 2, 4)), (2, 5, 3), [[1, 2]]),
        (layers.SeparableConv2D(4, 3), (2, 5, 5, 3), [[2, 3], [3], []]),
        (layers.Embedding(7, 3), (2, 5), [[0]]),
    ],
)
def test_filter_is_the_part_that_computes_one_output(layer, shape, axes):
    layer.build(shape)
    found = [filters.filter_axes(layer, v) for v in layer.trainable_variables]
    assert found == axes


def test_filters_of_a_direction_are_as_long_as_those_of_the_weights():
    generator = np.random.default_rng(0)
    direction, weight = generator.normal(size=(2, 3, 3, 2, 4))
    found = filters.scaled_like(direction, weight, [3])
    for i in range(4):
        assert np.linalg.norm(found[..., i]) == pytest.approx(
            np.linalg.norm(weight[..., i])
        )
    direction[..., 1] = 0
    found = filters.scaled_like(direction, weight, [3])
    assert (found[..., 1] == 0).all() and (found[..., 0] != 0).all()


def test_layout_is_that_of_the_innermost_layer_also_of_a_shared_one():
    shared = layers.Conv2DTranspose(2, 3, padding="same")
    inputs = keras.Input((4, 4, 3))
    x = keras.Sequential([layers.Conv2D(2, 1)], name="nested")(inputs)
    x = keras.Sequential([shared])(shared(x))
    outputs = layers.Dense(1)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    data = np.ones((2, 4, 4, 3)), np.ones((2, 1))
    objective = sharpness.Objective(model, *data, variables=shared)
    assert filters.owners(model)[id(shared.kernel)] is shared
    nested = model.get_layer("nested").layers[0]
    assert filters.owners(model)[id(nested.kernel)] is nested
    direction = filters.random_direction(objective, np.random.default_rng(0))
    found, _ = objective.arrays(direction)
    kernel = keras.ops.convert_to_numpy(shared.kernel)
    norms = [np.sqrt((k**2).sum(axis=(0, 1, 3))) for k in (found, kernel)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_line_to_a_model_ends_at_its_loss_with_its_statistics():
    x, y = dense.label_data()
    first, second = network(1), network(2)
    second.fit(x, y, epochs=2, verbose=0)
    line = sharpness.loss_line(
        first, x, y, to=second, limits=(0, 1), num_points=3
    )
    expected = [m.evaluate(x, y, verbose=0) for m in (first, second)]
    assert line.losses[[0, 2]] == pytest.approx(expected, rel=1e-5)
    assert line.direction == "to"
    assert line.num_weights == 39
