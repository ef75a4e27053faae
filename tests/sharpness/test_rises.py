"""Worst-case and average sharpness."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import sharpness
from keras_sam.sharpness import worst_case
from tests.sharpness import auto_pgd
from tests.sharpness import dense


def quadratic(curvatures=(4.0, 1.0, 0.25)):
    """Return a model at the minimum of sum(c w^2) / 2, and its data.

    One input and target for each weight, in one batch.
    """
    size = len(curvatures)
    x = np.diag(np.sqrt(np.array(curvatures) * size / 2))
    model = dense.model(
        layers.Dense(1, use_bias=False, kernel_initializer="ones"),
        loss="mse",
        size=size,
    )
    return model, x, x.sum(axis=1, keepdims=True)


def classifier(**arguments):
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, activation="tanh")(inputs)
    outputs = layers.Dense(3, activation="softmax")(hidden)
    model = keras_sam.SAMModel(inputs, outputs, **arguments)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def test_worst_case_of_a_quadratic_is_along_the_top_eigenvector():
    """The gradient is zero there, but not from one step on."""
    model, x, y = quadratic()
    kernel = model.trainable_variables[0]
    kernel.assign(kernel + np.full((3, 1), 1e-3))
    found = sharpness.worst_case_sharpness(model, x, y, rho=0.5)
    # Off the minimum by 1e-3: a change of 4 * 0.5 * 1e-3 by its slope.
    assert found.sharpness == pytest.approx(4 * 0.5**2 / 2, abs=3e-3)
    assert found.one_step < found.sharpness - 1e-3


def test_worst_case_in_the_largest_norm_is_in_a_corner():
    model, x, y = quadratic()
    kernel = model.trainable_variables[0]
    kernel.assign(kernel + np.full((3, 1), 1e-3))
    found = sharpness.worst_case_sharpness(model, x, y, rho=0.5, norm="linf")
    expected = (4 + 1 + 0.25) * 0.5**2 / 2
    assert found.sharpness == pytest.approx(expected, abs=3e-3)


def test_adaptive_ball_is_stretched_by_the_weights_and_keeps_zeros():
    model, x, y = quadratic()
    model.trainable_variables[0].assign([[2.0], [-1.0], [0.0]])
    found = sharpness.worst_case_sharpness(
        model, x, y, rho=0.1, norm="linf", adaptive=True
    )
    # Errors of 1, -2 and -1; weights change by 0.2, 0.1 and nothing.
    rise = 4 * (1.2**2 - 1) / 2 + 1 * (2.1**2 - 2**2) / 2
    assert found.sharpness == pytest.approx(rise, rel=1e-5)
    assert found.one_step == pytest.approx(rise, rel=1e-5)


@pytest.mark.parametrize(("method", "adaptive"), [("sam", 0), ("asam", 1)])
@pytest.mark.parametrize("rho", [0.01, 0.5])
def test_worst_case_is_at_least_the_rise_of_sams_own_step(
    method, adaptive, rho
):
    x, y = dense.label_data(num_examples=32, size=4)
    if method == "asam":
        method = keras_sam.methods.ASAM(eta=0.0, scale_all=True)
    model = classifier(method=method, rho=rho)
    rise = keras_sam.verify(model, x.astype("float32"), y).rise
    found = sharpness.worst_case_sharpness(
        model, x, y, rho=rho, adaptive=bool(adaptive)
    )
    # The same point, but two sums in float32 for a loss near 1.
    assert found.one_step == pytest.approx(rise, abs=1e-6)
    assert found.sharpness >= found.one_step


def test_worst_case_is_zero_where_the_gradient_is():
    model, x, y = quadratic()
    found = sharpness.worst_case_sharpness(model, x, y, rho=0.5)
    assert found.sharpness == 0


class Waves:
    """A function of a vector with many maxima, in place of an objective."""

    def __init__(self):
        generator = np.random.default_rng(0)
        self.size = 6
        self.weights = generator.normal(size=6)
        self._directions = generator.normal(scale=3, size=(9, 6))
        self.points = []

    def value(self, w):
        return np.sin(self._directions @ w).sum()

    def slope(self, w):
        return np.cos(self._directions @ w) @ self._directions

    def loss_and_gradient(self, point, batch):
        self.points.append(point)
        return self.value(point), self.slope(point)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_ascent_is_auto_pgd_point_by_point(norm, adaptive):
    waves = Waves()
    scale = np.abs(waves.weights) if adaptive else np.ones(6)
    expected, num_halvings = auto_pgd.ascend(
        lambda u: waves.value(waves.weights + scale * u),
        lambda u: scale * waves.slope(waves.weights + scale * u),
        6,
        1.5,
        norm,
        20,
    )
    ball = worst_case.Ball(waves, 1.5, norm, adaptive)
    best, first = worst_case.auto_pgd(waves, None, ball, 20)
    found = (np.array(waves.points) - waves.weights) / scale
    assert num_halvings >= 1
    assert len(found) == len(expected) == 21
    # Both in float64, a few operations a step.
    assert found == pytest.approx(np.array(expected), abs=1e-9)
    losses = [waves.value(waves.weights + scale * u) for u in expected]
    assert best == pytest.approx(max(losses) - losses[0])
    if norm == "linf":  # A case whose last point is not its best.
        assert best > losses[-1] - losses[0] + 1e-4
    assert first == pytest.approx(losses[1] - losses[0])


class Cliff(Waves):
    """Waves that overflow at some distance."""

    def value(self, w):
        is_far = np.linalg.norm(w - self.weights) > 0.6
        return np.inf if is_far else super().value(w)


def test_points_whose_loss_overflows_do_not_count():
    cliff = Cliff()
    ball = worst_case.Ball(cliff, 1.5, "l2", False)
    best, first = worst_case.auto_pgd(cliff, None, ball, 20)
    losses = [cliff.value(w) for w in cliff.points]
    assert first == np.inf
    assert best == max(v for v in losses if v < np.inf) - losses[0] > 1


def test_worst_case_is_never_below_zero():
    """At a maximum, of a loss that is -(w - 0.01)^2, all other points are."""
    model = dense.model(
        layers.Dense(1, use_bias=False, kernel_initializer="zeros"),
        loss=lambda y, y_pred: -((y_pred - 0.01) ** 2),
        size=1,
    )
    one = np.ones((1, 1))
    found = sharpness.worst_case_sharpness(model, one, one, rho=1.0, steps=1)
    assert found.one_step == pytest.approx(-(0.99**2) + 0.01**2)
    assert found.sharpness == 0


def test_each_batch_has_its_own_maximum_weighted_by_its_size():
    x, y = dense.label_data(num_examples=20, size=4)
    model = classifier()
    whole = sharpness.worst_case_sharpness(model, x, y, steps=3, batch_size=16)
    parts = [
        sharpness.worst_case_sharpness(model, x[a:b], y[a:b], steps=3)
        for a, b in ((0, 16), (16, 20))
    ]
    assert whole.batch_size == 16
    assert whole.one_step == pytest.approx(
        0.8 * parts[0].one_step + 0.2 * parts[1].one_step
    )
    assert whole.per_batch == pytest.approx([p.sharpness for p in parts])
    assert whole.sharpness == pytest.approx(
        0.8 * parts[0].sharpness + 0.2 * parts[1].sharpness
    )


@pytest.mark.parametrize(("norm", "variance"), [("l2", 1), ("linf", 1 / 3)])
@pytest.mark.parametrize("adaptive", [False, True])
def test_average_of_a_quadratic_is_half_the_trace_times_the_variance(
    norm, variance, adaptive
):
    model, x, _ = quadratic()
    weights = np.array([[2.0], [-1.0], [0.0]])
    model.trainable_variables[0].assign(weights)
    found = sharpness.average_sharpness(
        model,
        x,
        x @ weights,
        rho=0.5,
        norm=norm,
        adaptive=adaptive,
        num_draws=400,
    )
    trace = 4 * 2**2 + 1 if adaptive else 4 + 1 + 0.25
    expected = 0.5 * variance * 0.5**2 * trace
    assert found.sharpness == pytest.approx(
        expected, abs=4 * found.standard_error
    )
    assert found.standard_error < 0.1 * expected


@pytest.mark.parametrize(
    "function",
    [sharpness.worst_case_sharpness, sharpness.average_sharpness],
)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"rho": 0.0}, "`rho` must be a number in"),
        ({"norm": "l1"}, "`norm` must be"),
    ],
)
def test_bad_ball_is_refused(function, bad, message):
    with pytest.raises(ValueError, match=message):
        function(*quadratic(), **bad)
