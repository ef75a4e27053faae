"""Worst-case and average sharpness."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import sharpness
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


def test_each_batch_is_climbed_by_itself_and_weighs_by_its_size():
    x, y = dense.label_data(num_examples=20, size=4)
    model = classifier()
    whole = sharpness.worst_case_sharpness(model, x, y, steps=3, batch_size=16)
    parts = [
        sharpness.worst_case_sharpness(model, x[a:b], y[a:b], steps=3)
        for a, b in ((0, 16), (16, 20))
    ]
    assert whole.batch_size == 16
    assert whole.per_batch == pytest.approx([p.sharpness for p in parts])
    assert whole.sharpness == pytest.approx(
        0.8 * parts[0].sharpness + 0.2 * parts[1].sharpness
    )


@pytest.mark.parametrize(("norm", "variance"), [("l2", 1), ("linf", 1 / 3)])
@pytest.mark.parametrize("adaptive", [False, True])
def test_average_of_a_quadratic_is_half_the_trace_times_the_variance(
    norm, variance, adaptive
):
    model, x, y = quadratic()
    found = sharpness.average_sharpness(
        model, x, y, rho=0.5, norm=norm, adaptive=adaptive, num_draws=400
    )
    expected = 0.5 * variance * 0.5**2 * (4 + 1 + 0.25)
    assert found.sharpness == pytest.approx(
        expected, abs=4 * found.standard_error
    )
    assert found.standard_error < 0.1 * expected


@pytest.mark.parametrize(
    "function",
    [sharpness.worst_case_sharpness, sharpness.average_sharpness],
)
@pytest.mark.parametrize("bad", [{"rho": 0.0}, {"norm": "l1"}])
def test_bad_ball_is_refused(function, bad):
    with pytest.raises(ValueError, match="`rho` must be a finite number"):
        function(*quadratic(), **bad)
