"""Hessians that have a closed form.

Products are in float32: a matrix is exact to about 1e-6 of its largest entry.
"""

import keras
import numpy as np
import pytest
from keras import layers

from tests.sharpness import dense

TOLERANCE = 5e-6


def close(found, expected):
    return np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_linear_regression(gauss_newton):
    x, y = dense.regression_data()
    model = dense.model(layers.Dense(1), loss="mse", size=3)
    found = dense.hessian(dense.objective(model, x, y), gauss_newton)
    extended = np.hstack([x, np.ones((20, 1))])
    assert close(found, 2 * extended.T @ extended / 20)


def test_sample_weights_weigh_examples():
    x, y = dense.regression_data()
    weights = np.random.default_rng(1).uniform(0.5, 2, 20)
    model = dense.model(layers.Dense(1, use_bias=False), loss="mse", size=3)
    expected = 2 * x.T @ (weights[:, None] * x) / 20
    found = dense.hessian(dense.objective(model, x, y, sample_weight=weights))
    assert close(found, expected)
    x, y, weights = (t.astype("float32") for t in (x, y, weights))
    batches = [(x[i], y[i], weights[i]) for i in (slice(13), slice(13, 20))]
    objective = dense.objective(model, iter(batches), None)
    assert close(dense.hessian(objective), expected)


def test_regularizer_counts_once_however_many_batches():
    x, y = dense.regression_data()
    layer = layers.Dense(
        1, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.3)
    )
    model = dense.model(layer, loss="mse", size=3)
    found = dense.hessian(dense.objective(model, x, y))
    assert close(found, 2 * x.T @ x / 20 + 2 * 0.3 * np.eye(3))


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_logistic_regression(gauss_newton):
    x, y = dense.label_data(classes=2)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model = dense.model(layers.Dense(1, use_bias=False), loss=loss, size=3)
    found = dense.hessian(dense.objective(model, x, y[:, None]), gauss_newton)
    p = 1 / (1 + np.exp(-x @ dense.weights_of(model)))
    assert close(found, x.T @ ((p * (1 - p))[:, None] * x) / 20)


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_two_linear_layers(gauss_newton):
    """The loss mean((y - x A b)^2), of A and b, has a mixed term."""
    x, y = dense.regression_data()
    model = dense.model(
        layers.Dense(2, use_bias=False),
        layers.Dense(1, use_bias=False),
        loss="mse",
        size=3,
    )
    a, b = np.split(dense.weights_of(model), [6])
    a = a.reshape(3, 2)
    # Derivatives of the outputs by A, in C order, and by b.
    jacobian = np.hstack([np.kron(x, b[None]), x @ a])
    expected = 2 * jacobian.T @ jacobian / 20
    if not gauss_newton:
        gradient = 2 * x.T @ (x @ a @ b - y[:, 0]) / 20
        mixed = np.kron(gradient[:, None], np.eye(2))
        expected[:6, 6:] += mixed
        expected[6:, :6] += mixed.T
    found = dense.hessian(dense.objective(model, x, y), gauss_newton)
    assert close(found, expected)


def test_softmax_regression_with_and_without_logits():
    x, y = dense.label_data()
    logits = dense.model(
        layers.Dense(3, use_bias=False),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        size=3,
    )
    probabilities = dense.model(
        layers.Dense(3, use_bias=False, activation="softmax"),
        loss="sparse_categorical_crossentropy",
        size=3,
    )
    probabilities.set_weights(logits.get_weights())
    scores = np.exp(x @ dense.weights_of(logits).reshape(3, 3))
    p = scores / scores.sum(axis=1, keepdims=True)
    expected = np.zeros((9, 9))
    for example, q in zip(x, p):
        by_logits = np.diag(q) - np.outer(q, q)
        expected += np.kron(np.outer(example, example), by_logits) / 20
    for model in (logits, probabilities):
        assert close(dense.hessian(dense.objective(model, x, y)), expected)
    assert close(dense.hessian(dense.objective(logits, x, y), True), expected)
    # With probabilities as outputs it is the empirical Fisher matrix.
    gradients = [
        np.kron(example, q - np.eye(3)[label])
        for example, q, label in zip(x, p, y)
    ]
    fisher = sum(np.outer(g, g) for g in gradients) / 20
    assert close(
        dense.hessian(dense.objective(probabilities, x, y), True), fisher
    )


def normalized(z, epsilon, axis):
    mean = z.mean(axis=axis, keepdims=True)
    variance = ((z - mean) ** 2).mean(axis=axis, keepdims=True)
    return (z - mean) / np.sqrt(variance + epsilon)


def group_normalized(z):
    grouped = z.reshape(len(z), 2, 2)
    return normalized(grouped, 1e-3, 2).reshape(len(z), 4)


NORMALIZATIONS = {
    "layer": (
        lambda: layers.LayerNormalization(),
        lambda z: normalized(z, 1e-3, 1),
    ),
    "group": (lambda: layers.GroupNormalization(2), group_normalized),
    "batch": (
        lambda: layers.BatchNormalization(),
        lambda z: normalized(z, 1e-3, 0),
    ),
}


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalization_has_its_true_second_derivative(name):
    """TensorFlow's own is 4 to 28 % off: see `exact_second_derivatives`."""
    make, function = NORMALIZATIONS[name]
    x, y = dense.regression_data(num_examples=8, size=3, outputs=4)
    model = dense.model(
        layers.Dense(4, use_bias=False), make(), loss="mse", size=3
    )
    objective = dense.objective(
        model, x, y, training=True, variables=model.layers[0]
    )

    def loss(kernel):
        return np.mean((function(x @ kernel.reshape(3, 4)) - y) ** 2)

    kernel = model.layers[0].kernel
    start = keras.ops.convert_to_numpy(kernel).ravel().astype("float64")
    assert objective.value == pytest.approx(loss(start), rel=1e-6)
    expected = dense.by_differences(loss, start)
    found = dense.hessian(objective)
    # Differences are exact to about 1e-7 times the fourth derivative, which is
    # about a hundred times the second one here.
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.trace(found) == pytest.approx(np.trace(expected), rel=1e-4)


def test_gauss_newton_matrix_in_training_mode():
    """With the statistics of the batch, which differ from the moving ones."""
    x, y = dense.regression_data(num_examples=8, size=3, outputs=4)
    model = dense.model(
        layers.Dense(4, use_bias=False),
        layers.BatchNormalization(),
        loss="mse",
        size=3,
    )
    objective = dense.objective(
        model, x, y, training=True, variables=model.layers[0]
    )
    start, step = objective.weights.astype("float64"), 1e-5

    def outputs(kernel):
        return normalized(x @ kernel.reshape(3, 4), 1e-3, 0).ravel()

    jacobian = np.stack([
        (outputs(start + unit) - outputs(start - unit)) / (2 * step)
        for unit in step * np.eye(12)
    ])
    expected = 2 * jacobian @ jacobian.T / 32
    assert close(dense.hessian(objective, True), expected)


def with_derivative(function, derivative):
    """Return a function with a custom gradient."""

    @keras.ops.custom_gradient
    def result(x):
        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            return upstream * derivative(x)

        return function(x), gradient

    return result


def test_custom_gradient_of_a_layer_is_differentiated_once_more():
    """JAX has no forward mode for the square in the derivative of the cube."""
    square = with_derivative(lambda x: x**2, lambda x: 2 * x)
    cube = with_derivative(lambda x: x**3, lambda x: 3 * square(x))
    x, y = dense.regression_data()
    layer = layers.Dense(1, use_bias=False, activation=cube)
    model = dense.model(layer, loss=lambda y, y_pred: y_pred, size=3)
    found = dense.hessian(dense.objective(model, x, y))
    expected = 6 * x.T @ ((x @ dense.weights_of(model))[:, None] * x) / 20
    assert close(found, expected)


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_masked_steps_do_not_count(gauss_newton):
    x = np.random.default_rng(0).normal(size=(8, 4, 3))
    x[:3, 2:] = 0
    model = keras.Sequential([
        keras.Input((4, 3)),
        layers.Masking(),
        layers.Dense(1, use_bias=False),
    ])
    model.compile("sgd", "mse")
    objective = dense.objective(model, x, np.ones((8, 4, 1)))
    seen = x[x.any(axis=2)]
    expected = 2 * seen.T @ seen / len(seen)
    assert close(dense.hessian(objective, gauss_newton), expected)


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_output_that_does_not_depend_on_the_weights_adds_nothing(gauss_newton):
    x, y = dense.regression_data()
    inputs = keras.Input((3,))
    heads = [layers.Dense(1, use_bias=False) for _ in range(2)]
    model = keras.Model(inputs, [head(inputs) for head in heads])
    model.compile("sgd", ["mse", "mse"])
    objective = dense.objective(model, x, [y, y], variables=heads[1])
    found = dense.hessian(objective, gauss_newton)
    assert close(found, 2 * x.T @ x / 20)


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_loss_that_does_not_depend_on_the_weights_has_no_curvature(
    gauss_newton,
):
    x, y = dense.regression_data()
    inputs = keras.Input((3,))
    heads = [layers.Dense(1, use_bias=False) for _ in range(2)]
    model = keras.Model(inputs, [head(inputs) for head in heads])
    model.compile("sgd", ["mse", None])
    objective = dense.objective(model, x, [y, y], variables=heads[1])
    assert (dense.hessian(objective, gauss_newton) == 0).all()


def test_smooth_network_against_differences():
    x, y = dense.label_data()
    model = dense.model(
        layers.Dense(4, activation="tanh"),
        layers.Dense(3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        size=3,
    )

    def loss(point):
        a, b, c, d = np.split(point, [12, 16, 28])
        hidden = np.tanh(x @ a.reshape(3, 4) + b)
        scores = hidden @ c.reshape(4, 3) + d
        logs = np.log(np.exp(scores).sum(axis=1))
        return np.mean(logs - scores[np.arange(20), y])

    expected = dense.by_differences(loss, dense.weights_of(model))
    found = dense.hessian(dense.objective(model, x, y))
    # The tolerance of closed forms; the differences are as exact.
    assert np.abs(found - expected).max() < 5e-6
    assert np.abs(expected).max() > 0.1
