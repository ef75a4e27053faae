"""Losses on lines and planes, against models with those weights."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sam import sharpness
from keras_sam.sharpness import filters
from tests.sharpness import dense
from tests.sharpness.test_landscape import network


def losses_at(objective, points, other=None):
    """Return the losses of `evaluate` of a copy of the model at flat points.

    Each point has a fraction, by which moving statistics are interpolated
    towards those of another model.
    """
    x, y = dense.label_data()
    model = network()
    statistics = [v.numpy() for v in objective.model.non_trainable_variables]
    ends = statistics
    if other is not None:
        ends = [v.numpy() for v in other.non_trainable_variables]
    model.set_weights(objective.model.get_weights())
    own = {
        id(a): b
        for a, b in zip(
            objective.model.trainable_variables, model.trainable_variables
        )
    }
    found = []
    for point, fraction in points:
        for variable, value in zip(
            objective.variables, objective.arrays(point)
        ):
            own[id(variable)].assign(value)
        for v, a, b in zip(model.non_trainable_variables, statistics, ends):
            v.assign(a + fraction * (b - a))
        found.append(model.evaluate(x, y, verbose=0))
    return np.array(found)


def kernels(model):
    """Return an objective of the kernels alone."""
    return dense.objective(
        model, *dense.label_data(), variables="no_norm_no_bias"
    )


def grid(result):
    """Return the positions on a plane, the first direction fastest."""
    return [(a, b) for b in result.second for a in result.first]


LIMITS = ((0.0, 1.0), (-0.5, 0.25))


def test_random_line_is_along_its_direction_through_the_kernels():
    model = network()
    line = sharpness.loss_line(
        model, *dense.label_data(), limits=(-0.5, 1), num_points=4, seed=3
    )
    objective = kernels(model)
    direction = filters.random_direction(objective, np.random.default_rng(3))
    points = [(objective.weights + a * direction, 0) for a in (-0.5, 0, 0.5, 1)]
    expected = losses_at(objective, points)
    assert line.losses == pytest.approx(expected, rel=1e-5)
    assert line.direction == "random"
    assert line.num_weights == objective.size == 24
    assert line.length == pytest.approx(np.linalg.norm(direction))
    # Filters of the direction are as long as those of the kernels.
    assert line.length == pytest.approx(np.linalg.norm(objective.weights))


def test_random_plane_is_spanned_by_two_draws():
    model = network()
    plane = sharpness.loss_surface(
        model, *dense.label_data(), limits=LIMITS, num_points=3, seed=3
    )
    objective = kernels(model)
    generator = np.random.default_rng(3)
    one, two = (
        filters.random_direction(objective, generator) for _ in range(2)
    )
    points = [
        (objective.weights + a * one + b * two, 0) for a, b in grid(plane)
    ]
    expected = losses_at(objective, points)
    assert plane.losses.ravel() == pytest.approx(expected, rel=1e-5)
    lengths = [np.linalg.norm(one), np.linalg.norm(two)]
    assert plane.lengths == pytest.approx(lengths)


def test_default_limits_are_those_in_the_docstring():
    first, second = network(1), network(2)
    model = dense.objective(first, *dense.label_data())
    ends = [0, -1]
    line = sharpness.loss_line(model, num_points=2)
    assert line.positions[ends].tolist() == [-1, 1]
    line = sharpness.loss_line(model, to=second, num_points=2)
    assert line.positions[ends].tolist() == [-0.5, 1.5]
    plane = sharpness.loss_surface(model, num_points=2)
    assert plane.first[ends].tolist() == plane.second[ends].tolist() == [-1, 1]
    plane = sharpness.loss_surface(model, to=second, num_points=2)
    assert plane.first[ends].tolist() == [-0.5, 1.5]
    assert plane.second[ends].tolist() == [-1, 1]


def test_landscape_is_a_function_of_the_selected_weights():
    x, y = dense.label_data()
    line = sharpness.loss_line(network(), x, y, variables="all", num_points=2)
    assert line.num_weights == 39
    plane = sharpness.loss_surface(
        network(), x, y, variables="norm_only", num_points=2
    )
    assert plane.num_weights == 8


def test_weights_that_are_not_selected_are_constant_on_a_line():
    x, y = dense.label_data()
    first, second = network(1), network(2)
    line = sharpness.loss_line(
        first,
        x,
        y,
        to=second,
        variables=first.layers[0],
        limits=(0, 1),
        num_points=2,
    )
    for a, b in zip(first.layers[0].weights, second.layers[0].weights):
        a.assign(b)
    expected = first.evaluate(x, y, verbose=0)
    assert line.losses[1] == pytest.approx(expected, rel=1e-5)


def test_landscapes_print_their_extremes():
    of_all = {
        "num_examples": 20,
        "num_weights": 24,
        "training": False,
        "loss": 2.0,
    }
    line = sharpness.LossLine(
        positions=np.array([-1, 0, 1]),
        losses=np.array([3, 2, 1.0]),
        direction="to",
        length=0.5,
        **of_all,
    )
    assert "along a line (to, unit 0.5): from -1 to 1\n" in str(line)
    assert "lowest 1 at 1, highest 3\n" in str(line)
    plane = sharpness.LossSurface(
        first=np.array([-1, 1]),
        second=np.array([-2, 2]),
        losses=np.array([[4, 3], [2, 1.0]]),
        directions="trajectory",
        lengths=np.array([0.5, 0.25]),
        path=np.zeros((3, 2)),
        explained=np.array([0.5, 0.25]),
        **of_all,
    )
    assert "(trajectory, units 0.5 and 0.25): -1 to 1 by -2 to 2" in str(plane)
    assert "lowest 1, highest 4\n" in str(plane)
    assert "75.0% of the trajectory's variance" in str(plane)


def test_plane_to_a_model_is_orthogonal_and_interpolates_statistics():
    x, y = dense.label_data()
    first, second = network(1), network(2)
    second.fit(x, y, epochs=2, verbose=0)
    plane = sharpness.loss_surface(
        first, x, y, to=second, limits=LIMITS, num_points=3
    )
    objective = dense.objective(first, x, y)
    line = dense.weights_of(second) - dense.weights_of(first)
    draw = filters.random_direction(objective, np.random.default_rng(0))
    across = draw - (draw @ line) / (line @ line) * line
    across *= np.linalg.norm(line) / np.linalg.norm(across)
    points = [
        (objective.weights + a * line + b * across, a) for a, b in grid(plane)
    ]
    expected = losses_at(objective, points, second)
    assert plane.losses.ravel() == pytest.approx(expected, rel=1e-5)
    assert plane.lengths == pytest.approx([np.linalg.norm(line)] * 2, rel=1e-5)


def test_plane_of_a_trajectory_is_that_of_its_snapshots():
    """Snapshots around the last one, in two directions and hardly a third."""
    x, y = dense.label_data()
    model = network()
    weights = dense.weights_of(model)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(39, 3)))[0].T
    offsets = np.array([[3, 0.5], [2, -0.4], [1, 0.2], [0.0, 0.0]])
    noise = 0.01 * np.outer([1, -1, -1, 1], axes[2])
    points = weights + offsets @ axes[:2] + noise
    trajectory = sharpness.Trajectory(np.arange(4), points)
    plane = sharpness.loss_surface(
        model, x, y, trajectory=trajectory, num_points=3
    )

    found, explained = trajectory.principal_axes()
    centered = points - points.mean(axis=0)
    covariance = centered.T @ centered
    variances = np.linalg.eigvalsh(covariance)[::-1]
    assert explained == pytest.approx(variances[:2] / variances.sum())
    assert plane.explained == pytest.approx(explained)
    assert found @ found.T == pytest.approx(np.eye(2), abs=1e-12)
    assert covariance @ found[0] == pytest.approx(variances[0] * found[0])
    assert covariance @ found[1] == pytest.approx(variances[1] * found[1])

    assert plane.path == pytest.approx((points - points[-1]) @ found.T)
    extent = np.ptp(plane.path, axis=0)
    for shown, low, width in zip(
        (plane.first, plane.second), plane.path.min(axis=0), extent
    ):
        assert shown[[0, -1]] == pytest.approx([
            low - 0.2 * width,
            low + 1.2 * width,
        ])
    objective = dense.objective(model, x, y)
    at = [(points[-1] + a * found[0] + b * found[1], 0) for a, b in grid(plane)]
    expected = losses_at(objective, at)
    assert plane.losses.ravel() == pytest.approx(expected, rel=1e-5)


class Table(layers.Layer):
    """Adds an integer weight."""

    def build(self, shape):
        self.entry = self.add_weight(
            shape=(), dtype="int32", trainable=False, initializer="ones"
        )

    def call(self, inputs):
        return inputs + keras.ops.cast(self.entry, inputs.dtype)


def test_integer_weights_are_not_interpolated():
    x, y = dense.regression_data()
    models = [
        dense.model(Table(), layers.Dense(1), loss="mse", size=3)
        for _ in range(2)
    ]
    models[1].set_weights(models[0].get_weights())
    models[1].layers[0].entry.assign(9)
    line = sharpness.loss_line(
        models[0], x, y, to=models[1], limits=(0, 1), num_points=3
    )
    assert line.losses == pytest.approx(line.losses[0])


def snapshots(shape):
    points = np.random.default_rng(0).normal(size=shape)
    return sharpness.Trajectory(np.arange(shape[0]), points)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_points": 1}, "`num_points` at least 2"),
        ({"limits": ((1, -1), (0, 1))}, "must be increasing"),
        ({"to": network()}, "`to` must differ"),
        ({"to": network(), "trajectory": snapshots((4, 39))}, "Only one of"),
        ({"trajectory": snapshots((4, 38))}, "must hold all weights"),
        ({"trajectory": snapshots((2, 39))}, "at least three different"),
    ],
)
def test_bad_plane_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sharpness.loss_surface(network(), *dense.label_data(), **arguments)


def test_snapshots_on_a_line_are_refused():
    points = np.outer([0, 1, 2, 3], np.ones(39))
    with pytest.raises(ValueError, match="not on one line"):
        sharpness.Trajectory(np.arange(4), points).principal_axes()


def test_model_of_other_shapes_is_refused():
    x, y = dense.label_data()
    other = dense.model(layers.Dense(3), loss="mse", size=3)
    for function in (sharpness.loss_line, sharpness.loss_surface):
        with pytest.raises(ValueError, match="of the same shapes"):
            function(network(), x, y, to=other)
