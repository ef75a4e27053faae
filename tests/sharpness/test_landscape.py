"""Filters, lines, planes, trajectories and callbacks."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sam import callbacks
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
        (layers.Embedding(7, 3), (2, 5), [[0]]),
    ],
)
def test_filter_is_what_makes_one_output(layer, shape, axes):
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


def test_line_to_a_model_ends_at_its_loss_with_its_statistics():
    x, y = dense.label_data()
    first, second = network(1), network(2)
    second.fit(x, y, epochs=2, verbose=0)
    line = sharpness.loss_line(
        first, x, y, to=second, limits=(0, 1), num_points=3
    )
    expected = [m.evaluate(x, y, verbose=0) for m in (first, second)]
    assert line.losses[[0, 2]] == pytest.approx(expected, rel=1e-5)


def test_random_plane_has_the_model_in_its_middle():
    x, y = dense.label_data()
    model = network()
    plane = sharpness.loss_surface(model, x, y, num_points=3)
    expected = model.evaluate(x, y, verbose=0)
    assert plane.losses[1, 1] == pytest.approx(expected, rel=1e-5)
    # Kernels alone, and a direction as long as they are.
    kernels = [model.layers[i].kernel for i in (0, 2)]
    squares = sum(float(keras.ops.sum(k**2)) for k in kernels)
    assert plane.lengths == pytest.approx(np.sqrt(squares), rel=1e-5)


def test_trajectory_and_monitor_in_fit(tmp_path):
    x, y = dense.label_data()
    model = network()
    recorder = callbacks.TrajectoryRecorder()
    monitor = callbacks.SharpnessMonitor(
        x, y, measures=["top_eigenvalue"], every_epochs=2
    )
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = model.fit(
        x, y, epochs=3, verbose=0, callbacks=[monitor, recorder, log]
    ).history["top_eigenvalue"]
    assert np.isnan(history).tolist() == [False, True, False]
    assert "top_eigenvalue" in (tmp_path / "log.csv").read_text()
    last = sharpness.hessian_eigenvalues(model, x, y, k=1).eigenvalues[0]
    assert history[2] == pytest.approx(last, rel=1e-4)

    trajectory = recorder.trajectory
    assert trajectory.steps.tolist() == [0, 1, 2, 3]
    assert trajectory.points[-1] == pytest.approx(dense.weights_of(model))
    trajectory.save(tmp_path / "points.npz")
    loaded = sharpness.Trajectory.load(tmp_path / "points.npz")
    plane = sharpness.loss_surface(model, x, y, trajectory=loaded, num_points=3)
    assert plane.path[-1] == pytest.approx(0)
    assert plane.explained.sum() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measures": ["flatness"]}, "`measures` must be names"),
        ({"every_epochs": 0}, "`every_epochs` must be"),
        ({"every_steps": 0}, "`every_steps` must be"),
    ],
)
def test_bad_argument_of_the_monitor_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        callbacks.SharpnessMonitor(*dense.label_data(), **arguments)
