"""The reference itself: its gradients, and its methods on paper."""

import numpy as np
import pytest

from tests.reference import methods as formulas
from tests.reference import problems

PROBLEMS = {
    "linear_regression": problems.linear_regression(3),
    "logistic_regression": problems.logistic_regression(3),
    "tanh_network": problems.tanh_network(3, 4),
}
PROBLEMS |= {
    f"{name}_with_penalty": problems.with_penalty(problem, 0.3)
    for name, problem in PROBLEMS.items()
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradient_is_the_slope_of_the_loss(name):
    problem = PROBLEMS[name]
    generator = np.random.default_rng(0)
    weight = generator.normal(size=problem.is_matrix.size)
    batch = (
        generator.normal(size=(5, 3)),
        generator.integers(0, 2, size=5).astype("float64"),
        generator.uniform(size=5),
    )
    step = 1e-5
    slopes = [
        problem.loss(weight + step * d, *batch)
        - problem.loss(weight - step * d, *batch)
        for d in np.eye(weight.size)
    ]
    # A central difference is off by step^2 = 1e-10 times a third derivative
    # of order one, and by rounding, 2^-53 / step = 1e-11.
    np.testing.assert_allclose(
        np.divide(slopes, 2 * step),
        problem.gradient(weight, *batch),
        rtol=0,
        atol=1e-8,
    )


def perturbation(formula, g, weight, is_matrix):
    g, weight, is_matrix = map(np.array, (g, weight, is_matrix))
    chosen = np.ones(g.shape, bool)
    at = formulas.At(weight, 0.5, chosen, is_matrix, {}, None, g, lambda w: g)
    return formula.two_passes(at).e


def test_sam_on_paper():
    # The norm of (3, 4) is 5.
    e = perturbation(formulas.sam(), [3.0, 4.0], [1.0, 1.0], [True, True])
    np.testing.assert_allclose(e, [0.3, 0.4], rtol=1e-15)


def test_asam_on_paper():
    # T = (|-2| + 1, 1) = (3, 1), T g = (3, 4), of norm 5, T^2 g = (9, 4).
    e = perturbation(
        formulas.asam(eta=1.0), [1.0, 4.0], [-2.0, 7.0], [True, False]
    )
    np.testing.assert_allclose(e, [0.9, 0.4], rtol=1e-15)


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        (6, 2, [(0, 3), (3, 6)]),
        (7, 3, [(0, 2), (2, 4), (4, 7)]),
        (2, 3, [(0, 1), (1, 2)]),
    ],
)
def test_parts_are_consecutive_and_almost_equal(size, count, expected):
    assert problems.parts(size, count) == expected
