"""Training losses and their gradients, in NumPy and float64.

Nothing is differentiated by a machine. All weights of a model are one flat
vector, in the order of `model.get_weights()`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Problem(NamedTuple):
    """A training loss `loss(weight, x, y, sample_weight)` and its gradient.

    Attributes:
        loss: Returns the mean over the examples of `sample_weight` times the
            loss of an example, and whatever does not depend on examples.
        gradient: Returns its gradient by `weight`. With weights as `held` it
            is `J(weight)^T d`, with the Jacobian J of the outputs and the
            gradient d by the outputs at `held`.
        is_matrix: Boolean vector: which elements of `weight` are those of
            matrices, as opposed to biases.
        shapes: Of the arrays that `weight` consists of.
    """

    loss: Callable[..., float]
    gradient: Callable[..., np.ndarray]
    is_matrix: np.ndarray
    shapes: list[tuple[int, ...]]


def linear_regression(num_features):
    """Return the squared error of `x @ kernel + bias`."""

    def residual(weight, x, y):
        return x @ weight[:-1] + weight[-1] - y

    def loss(weight, x, y, sample_weight):
        return np.mean(sample_weight * residual(weight, x, y) ** 2)

    def gradient(weight, x, y, sample_weight, held=None):
        held = weight if held is None else held
        by_output = sample_weight * 2 * residual(held, x, y) / len(x)
        return np.append(x.T @ by_output, by_output.sum())

    is_matrix = np.arange(num_features + 1) < num_features
    return Problem(loss, gradient, is_matrix, [(num_features, 1), (1,)])


def logistic_regression(num_features):
    """Return the binary cross-entropy of the logit `x @ kernel + bias`."""

    def logit(weight, x):
        return x @ weight[:-1] + weight[-1]

    def loss(weight, x, y, sample_weight):
        z = logit(weight, x)
        return np.mean(sample_weight * (np.logaddexp(0, z) - y * z))

    def gradient(weight, x, y, sample_weight, held=None):
        held = weight if held is None else held
        probability = 1 / (1 + np.exp(-logit(held, x)))
        by_logit = sample_weight * (probability - y) / len(x)
        return np.append(x.T @ by_logit, by_logit.sum())

    is_matrix = np.arange(num_features + 1) < num_features
    return Problem(loss, gradient, is_matrix, [(num_features, 1), (1,)])


def tanh_network(num_features, num_hidden):
    """Return the squared error of `tanh(x @ k1 + b1) @ k2 + b2`."""
    num_first = num_features * num_hidden

    def split(weight):
        k1, b1, k2, b2 = np.split(
            weight, np.cumsum([num_first, num_hidden, num_hidden])
        )
        return k1.reshape(num_features, num_hidden), b1, k2, b2

    def forward(weight, x):
        k1, b1, k2, b2 = split(weight)
        hidden = np.tanh(x @ k1 + b1)
        return hidden, hidden @ k2 + b2

    def loss(weight, x, y, sample_weight):
        _, output = forward(weight, x)
        return np.mean(sample_weight * (output - y) ** 2)

    def gradient(weight, x, y, sample_weight, held=None):
        hidden, _ = forward(weight, x)
        _, output = forward(weight if held is None else held, x)
        by_output = sample_weight * 2 * (output - y) / len(x)
        _, _, k2, _ = split(weight)
        by_hidden = np.outer(by_output, k2) * (1 - hidden**2)
        return np.concatenate([
            (x.T @ by_hidden).ravel(),
            by_hidden.sum(axis=0),
            hidden.T @ by_output,
            [by_output.sum()],
        ])

    kinds = [(True, num_first), (False, num_hidden), (True, num_hidden)]
    is_matrix = np.concatenate([np.full(n, kind) for kind, n in kinds])
    shapes = [(num_features, num_hidden), (num_hidden,), (num_hidden, 1), (1,)]
    return Problem(loss, gradient, np.append(is_matrix, False), shapes)


def with_penalty(problem, factor):
    """Return a problem with `factor` times the squares of its matrices."""

    def loss(weight, *batch):
        penalty = factor * np.sum(weight[problem.is_matrix] ** 2)
        return problem.loss(weight, *batch) + penalty

    def gradient(weight, *batch, held=None):
        by_penalty = 2 * factor * np.where(problem.is_matrix, weight, 0)
        return problem.gradient(weight, *batch, held=held) + by_penalty

    return problem._replace(loss=loss, gradient=gradient)


def parts(size, count):
    """Return first and last index of consecutive parts, the small ones first.

    They differ by at most one example, and none is empty.
    """
    count = min(count, size)
    small, num_large = divmod(size, count)
    sizes = [small] * (count - num_large) + [small + 1] * num_large
    stops = np.cumsum(sizes)
    return list(zip(stops - sizes, stops))
