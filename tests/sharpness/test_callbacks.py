"""Measures and snapshots during `fit`."""

import keras
import numpy as np
import pytest

from keras_sam import callbacks
from keras_sam import sharpness
from tests.sharpness import dense
from tests.sharpness.test_landscape import network


class Recorder(keras.callbacks.Callback):
    """Stores the logs of each step, and the loss on all data after it."""

    def __init__(self):
        super().__init__()
        self.logs, self.losses = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(dict(logs))
        objective = sharpness.Objective(self.model, *dense.label_data())
        self.losses.append(objective.value)


def fit(model, *used, epochs=1):
    """Train for three steps an epoch; return the logs of the epochs."""
    x, y = dense.label_data()
    return model.fit(
        x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(used)
    ).history


def by_loss(**arguments):
    measures = {"value": lambda objective: objective.value}
    return callbacks.SharpnessMonitor(
        *dense.label_data(), measures=measures, **arguments
    )


def test_monitor_measures_after_every_so_many_steps():
    monitor, recorder = by_loss(every_steps=2), Recorder()
    history = fit(network(), monitor, recorder, epochs=2)
    measured = {
        i: log["value"] for i, log in enumerate(recorder.logs) if "value" in log
    }
    assert sorted(measured) == [1, 3, 5]
    for i, value in measured.items():
        assert value == pytest.approx(recorder.losses[i], rel=1e-6)
    # The last value of each epoch.
    assert history["value"] == [measured[1], measured[5]]


def test_epoch_without_a_measured_step_has_no_value():
    history = fit(network(), by_loss(every_steps=4), epochs=3)["value"]
    assert np.isnan(history).tolist() == [True, False, False]


def test_monitor_starts_anew_with_every_fit():
    monitor, recorder = by_loss(every_steps=2), Recorder()
    fit(network(1), monitor, recorder)
    fit(network(2), monitor, recorder)
    assert ["value" in log for log in recorder.logs] == [False, True, False] * 2
    assert recorder.logs[4]["value"] == pytest.approx(
        recorder.losses[4], rel=1e-6
    )


def test_monitor_makes_one_objective_of_its_data_and_options():
    monitor = by_loss(every_steps=1, variables="norm_only", batch_size=7)
    found = []
    monitor._measures["value"] = lambda objective: (
        found.append(objective) or len(objective.batches)
    )
    history = fit(network(), monitor, epochs=2)
    assert len(found) == 6 and all(one is found[0] for one in found)
    assert found[0].size == 8  # Scales and offsets of four units.
    assert history["value"] == [3, 3]  # 20 examples.


def test_measures_by_name_are_those_of_the_functions():
    x, y = dense.label_data()
    model = network()
    monitor = callbacks.SharpnessMonitor(x, y, measures=callbacks.MEASURES)
    history = fit(model, monitor)
    found = {
        "top_eigenvalue": sharpness.hessian_eigenvalues(
            model, x, y, k=1
        ).eigenvalues[0],
        "trace": sharpness.hessian_trace(model, x, y).trace,
        "worst_case_sharpness": sharpness.worst_case_sharpness(
            model, x, y
        ).sharpness,
        "average_sharpness": sharpness.average_sharpness(model, x, y).sharpness,
    }
    for name, value in found.items():
        assert history[name] == [pytest.approx(value, rel=1e-4)]


def test_monitor_weighs_examples():
    x, y = dense.label_data()
    weights = np.random.default_rng(1).uniform(0.5, 2, 20)
    model = network()
    monitor = callbacks.SharpnessMonitor(
        x, y, weights, measures={"value": lambda objective: objective.value}
    )
    history = fit(model, monitor)
    expected = sharpness.Objective(model, x, y, weights).value
    assert history["value"] == [pytest.approx(expected, rel=1e-6)]


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, [0, 3, 6, 9]),
        ({"every_epochs": 2}, [0, 6, 9]),
        ({"every_steps": 4}, [0, 4, 8, 9]),
    ],
)
def test_snapshots_are_taken_at_the_start_during_training_and_at_the_end(
    arguments, steps
):
    recorder = callbacks.TrajectoryRecorder(**arguments)
    with pytest.raises(ValueError, match="Nothing was recorded"):
        _ = recorder.trajectory
    model = network()
    for _ in range(2):  # The second `fit` starts anew.
        before = dense.weights_of(model)
        fit(model, recorder, epochs=3)
        assert recorder.trajectory.steps.tolist() == steps
        points = recorder.trajectory.points
        assert points.shape == (len(steps), 39)
        assert points[0] == pytest.approx(before)
        assert points[-1] == pytest.approx(dense.weights_of(model))


def test_model_that_is_not_built_has_no_first_snapshot():
    model = keras.Sequential([keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    recorder = callbacks.TrajectoryRecorder()
    was_built = []
    note = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: was_built.append(model.built)
    )
    fit(model, note, recorder)
    # On JAX, Keras builds a model before training begins.
    steps = [0, 3] if was_built[0] else [3]
    assert recorder.trajectory.steps.tolist() == steps
    assert recorder.trajectory.points.shape == (len(steps), 12)


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


def test_a_measure_may_be_named_alone():
    alone, listed = (
        callbacks.SharpnessMonitor(*dense.label_data(), measures=measures)
        for measures in ("trace", ["trace"])
    )
    assert alone._measures == listed._measures


@pytest.mark.parametrize("bad", [0, 1.5])
@pytest.mark.parametrize("name", ["every_epochs", "every_steps"])
def test_bad_interval_is_refused(name, bad):
    message = f"`{name}` must be an integer >= 1. Received: {name}={bad}"
    with pytest.raises(ValueError, match=message):
        callbacks.SharpnessMonitor(*dense.label_data(), **{name: bad})
    with pytest.raises(ValueError, match=message):
        callbacks.TrajectoryRecorder(**{name: bad})


@pytest.mark.parametrize("measures", [["flatness"], []])
def test_measures_that_are_not_known_are_refused(measures):
    with pytest.raises(ValueError, match="`measures` must be names"):
        callbacks.SharpnessMonitor(*dense.label_data(), measures=measures)
