"""Lanczos, trace and density of known matrices."""

import numpy as np
import pytest
from keras import layers
from scipy.sparse.linalg import eigsh

from keras_sam import sharpness
from keras_sam.sharpness import density
from keras_sam.sharpness import eigenvalues
from keras_sam.sharpness import trace
from keras_sam.sharpness.lanczos import Lanczos
from tests.sharpness import dense


class Operator:
    """A symmetric matrix given by its products, which are counted."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.size, self.dtype = len(matrix), matrix.dtype
        self.num_products = 0

    def product(self, vector):
        self.num_products += 1
        return self.matrix @ vector


def matrix(size=60, seed=0):
    """Return a symmetric matrix with a few large eigenvalues."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=size)
    values[:4] = 40, 25, 15, -20
    basis = np.linalg.qr(generator.normal(size=(size, size)))[0]
    return basis @ np.diag(values) @ basis.T, values


def extreme(matrix, k, tolerance, which="LA", max_steps=None):
    return eigenvalues.extreme_eigenpairs(
        Operator(matrix),
        k,
        which,
        max_steps or len(matrix),
        tolerance,
        np.random.default_rng(0),
    )


@pytest.mark.parametrize("which", ["LA", "SA", "LM"])
def test_extreme_eigenvalues_are_those_of_scipy(which):
    a, _ = matrix()
    found, vectors = extreme(a, 5, 1e-10, which=which)
    expected = eigsh(a, 5, which=which, return_eigenvectors=False)
    assert np.sort(found) == pytest.approx(np.sort(expected), rel=1e-9)
    assert a @ vectors.T == pytest.approx(vectors.T * found, abs=1e-7)


def test_lanczos_stops_when_the_residuals_are_small():
    operator = Operator(matrix(size=400)[0])
    generator = np.random.default_rng(0)
    eigenvalues.extreme_eigenpairs(operator, 1, "LA", 400, 1e-4, generator)
    assert operator.num_products < 40


def test_equal_eigenvalues_are_found_if_steps_suffice():
    values = np.array([3.0, 3.0, 2.0, 2.0, 1.0, 1.0])
    found, _ = extreme(np.diag(values), 4, 1e-10)
    assert found == pytest.approx([3, 3, 2, 2])


def test_no_eigenvalue_is_counted_twice_in_float32():
    """Without re-orthogonalization copies of the largest appear."""
    values = np.linspace(0, 1, 300).astype("float32") ** 8
    found, _ = extreme(np.diag(values), 5, 0.0, max_steps=120)
    assert found == pytest.approx(np.sort(values)[:-6:-1], abs=1e-5)


def test_basis_stays_orthonormal_where_little_is_new():
    """An image is the vector itself, but for a ten-thousandth."""
    values = 1 + 1e-4 * np.linspace(0, 1, 300).astype("float32")
    lanczos = Lanczos(Operator(np.diag(values)), np.random.default_rng(0), 20)
    for _ in range(20):
        assert lanczos.step()
    basis = lanczos.combine(np.eye(20))
    # Sums of 300 terms in float32.
    assert basis @ basis.T == pytest.approx(np.eye(20), abs=1e-5)


@pytest.mark.parametrize("rank", [0, 10])
def test_trace_is_within_its_error(rank):
    a, values = matrix()
    scores = []
    for seed in range(200):
        found, error, count = trace.hutch_plus_plus(
            Operator(a), rank, 30, 0.0, np.random.default_rng(seed)
        )
        assert count == 30
        scores.append((found - values.sum()) / error)
    # The mean of 200 scores of variance 1, and that variance: 4 deviations.
    assert abs(np.mean(scores)) < 4 / np.sqrt(200)
    assert np.std(scores) == pytest.approx(1, abs=0.2)


def test_deflation_lowers_the_error():
    a, _ = matrix()
    errors = [
        trace.hutch_plus_plus(
            Operator(a), rank, 30, 0.0, np.random.default_rng(0)
        )[1]
        for rank in (0, 10)
    ]
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("sign", [1, -1])
def test_trace_stops_at_the_requested_error(sign):
    a, values = matrix()
    shifted = sign * (a + 10 * np.eye(60))
    found, error, count = trace.hutch_plus_plus(
        Operator(shifted), 0, 1000, 0.01, np.random.default_rng(0)
    )
    assert 10 < count < 1000
    assert error <= 0.01 * abs(found)
    assert sign * found == pytest.approx(values.sum() + 600, abs=4 * error)


def test_trace_of_full_rank_is_exact():
    a, values = matrix()
    found = trace.hutch_plus_plus(
        Operator(a), 60, 10, 0.0, np.random.default_rng(0)
    )
    assert found == (pytest.approx(values.sum()), 0.0, 0)


def gaussians(grid, values, width):
    distance = (grid[:, None] - values) / width
    heights = np.exp(-(distance**2) / 2) / (width * np.sqrt(2 * np.pi))
    return heights.mean(axis=1)


def test_density_is_right_on_average_and_knows_its_error():
    a, values = matrix()
    points = np.linspace(-24, 44, 60)
    found, errors = [], []
    for seed in range(40):
        nodes, weights = density.quadrature(
            Operator(a), 30, 10, np.random.default_rng(seed)
        )
        grid, mean, error, _ = density.smooth(nodes, weights, 2.0, 600)
        found.append(np.interp(points, grid, mean))
        errors.append(np.interp(points, grid, error))
    exact = gaussians(points, values, 2.0)
    seen = exact > 1e-3 * exact.max()
    deviation = np.std(found, axis=0, ddof=1)[seen]
    # The mean of 40 densities: 4 standard errors.
    gap = np.abs(np.mean(found, axis=0) - exact)[seen]
    assert (gap < 4 * deviation / np.sqrt(40)).all()
    # A variance from 40 samples is exact to a quarter.
    claimed = np.sqrt(np.mean(np.square(errors), axis=0))[seen]
    assert np.median(claimed / deviation) == pytest.approx(1, abs=0.25)


def test_density_integrates_to_one():
    a, _ = matrix()
    nodes, weights = density.quadrature(
        Operator(a), 30, 5, np.random.default_rng(0)
    )
    assert weights.sum(axis=1) == pytest.approx(1)
    grid, found, _, width = density.smooth(nodes, weights, None, 2000)
    assert width == pytest.approx((nodes.max() - nodes.min()) / 30)
    # The grid ends 5 deviations beyond the outermost nodes.
    assert np.trapezoid(found, grid) == pytest.approx(1, abs=1e-5)


def test_density_of_equal_eigenvalues_is_one_gaussian():
    """The Krylov space of every probe ends after one step."""
    nodes, weights = density.quadrature(
        Operator(3 * np.eye(8)), 4, 2, np.random.default_rng(0)
    )
    assert nodes == pytest.approx(3)
    assert weights.tolist() == [[pytest.approx(1), 0, 0, 0]] * 2
    grid, found, error, width = density.smooth(nodes, weights, None, 200)
    assert width == pytest.approx(3 / 4)
    assert found == pytest.approx(gaussians(grid, [3], width))
    assert error == pytest.approx(0)


def test_negative_share_is_the_weight_of_ritz_values_below_one_width():
    result = sharpness.SpectralDensity(
        grid=np.zeros(2),
        density=np.zeros(2),
        standard_error=np.zeros(2),
        width=1.0,
        ritz_values=np.array([[-2, -0.5, 1], [-3, -2, 0.5]]),
        ritz_weights=np.array([[0.1, 0.3, 0.6], [0.2, 0.3, 0.5]]),
        gauss_newton=False,
        num_examples=1,
        num_weights=3,
        training=False,
        loss=0.0,
    )
    assert result.negative_share == pytest.approx((0.1 + 0.5) / 2)
    assert "30.0% of the eigenvalues below -1" in str(result)


@pytest.fixture(scope="module")
def measured():
    x, y = dense.label_data(num_examples=40, size=4)
    model = dense.model(
        layers.Dense(5, activation="tanh"),
        layers.LayerNormalization(),
        layers.Dense(3, activation="softmax"),
        loss="sparse_categorical_crossentropy",
        size=4,
    )
    objective = dense.objective(model, x, y)
    return objective, np.linalg.eigvalsh(dense.hessian(objective))[::-1]


def test_eigenvalues_of_a_model(measured):
    objective, values = measured
    result = sharpness.hessian_eigenvalues(objective, k=3)
    assert result.converged.all()
    assert result.eigenvalues == pytest.approx(values[:3], abs=1e-4)
    assert (result.residuals <= 1e-4 * values[0]).all()
    assert result.ratio == pytest.approx(values[0] / values[2], rel=1e-3)
    smallest = sharpness.hessian_eigenvalues(objective, k=2, which="SA")
    assert smallest.eigenvalues == pytest.approx(values[:-3:-1], abs=1e-4)
    assert smallest.converged.all()


def test_eigenvalue_that_has_not_converged_is_marked(measured):
    objective, values = measured
    result = sharpness.hessian_eigenvalues(objective, k=2, max_products=3)
    assert not result.converged.all()
    assert "not converged" in str(result)
    # Converged or not, an eigenvalue is within the residual.
    for value, residual in zip(result.eigenvalues, result.residuals):
        assert np.abs(values - value).min() <= residual + 1e-6


def test_trace_of_a_model(measured):
    objective, values = measured
    result = sharpness.hessian_trace(objective, tolerance=0.02)
    assert result.trace == pytest.approx(
        values.sum(), abs=4 * result.standard_error + 1e-5
    )


def test_trace_says_whether_its_error_is_small_enough(measured):
    objective, _ = measured

    def found(tolerance, max_probes=10):
        result = sharpness.hessian_trace(
            objective, rank=0, max_probes=max_probes, tolerance=tolerance
        )
        assert result.num_probes == 10
        return result

    never = found(0.0)
    assert not never.converged
    assert "10 probes, not converged" in str(never)
    share = never.standard_error / abs(never.trace)
    assert not found(0.99 * share).converged
    assert found(1.01 * share).converged
    assert found(10.0, max_probes=20).converged


def test_gauss_newton_matrix_is_an_option(measured):
    objective, values = measured
    expected = np.linalg.eigvalsh(dense.hessian(objective, True))
    assert values.min() < -0.01
    trace = sharpness.hessian_trace(objective, rank=999, gauss_newton=True)
    assert trace.trace == pytest.approx(expected.sum(), abs=1e-4)
    assert (trace.standard_error, trace.num_probes) == (0, 0)
    top = sharpness.hessian_eigenvalues(objective, k=2, gauss_newton=True)
    assert top.eigenvalues == pytest.approx(expected[:-3:-1], abs=1e-4)
    assert str(top).startswith("eigenvalues of the Gauss-Newton matrix")
    density = sharpness.spectral_density(
        objective, num_probes=2, gauss_newton=True
    )
    assert density.ritz_values.min() == pytest.approx(0, abs=1e-4)
    assert density.ritz_values.max() == pytest.approx(expected[-1], abs=1e-4)


def test_density_of_a_model(measured):
    objective, values = measured
    result = sharpness.spectral_density(objective, num_probes=5)
    assert result.ritz_values.shape == (5, objective.size)
    # With as many steps as weights the nodes are the eigenvalues.
    assert result.ritz_values.max() == pytest.approx(values[0], abs=1e-4)
    share = (values < -result.width).mean()
    assert result.negative_share == pytest.approx(share, abs=0.2)


def test_density_has_the_requested_grid_and_width(measured):
    result = sharpness.spectral_density(
        measured[0], steps=3, num_probes=2, width=0.5, num_points=7
    )
    assert result.ritz_values.shape == (2, 3)
    assert result.grid.shape == result.density.shape == (7,)
    assert result.width == 0.5
    mean = np.mean(
        [
            np.exp(-(((result.grid[:, None] - nodes) / 0.5) ** 2) / 2) @ weights
            for nodes, weights in zip(result.ritz_values, result.ritz_weights)
        ],
        axis=0,
    )
    assert result.density == pytest.approx(mean / (0.5 * np.sqrt(2 * np.pi)))


@pytest.mark.parametrize("verbose", [0, 1])
def test_products_are_counted(measured, verbose, monkeypatch):
    objective, calls = measured[0], []
    product = objective.product
    # One call for each batch of 8 examples out of 40.
    monkeypatch.setattr(
        objective, "product", lambda *a: calls.append(1) or product(*a)
    )
    result = sharpness.hessian_eigenvalues(
        objective, k=2, gauss_newton=True, max_products=4, verbose=verbose
    )
    assert result.num_products == len(calls) / 5 == 4 + 2


@pytest.mark.parametrize(
    ("function", "field", "arguments"),
    [
        (sharpness.hessian_eigenvalues, "eigenvalues", {"max_products": 5}),
        (sharpness.hessian_trace, "trace", {"rank": 0, "max_probes": 2}),
        (
            sharpness.spectral_density,
            "ritz_values",
            {"steps": 3, "num_probes": 2},
        ),
        (sharpness.average_sharpness, "sharpness", {"num_draws": 2}),
    ],
)
def test_random_vectors_are_those_of_the_seed(
    measured, function, field, arguments
):
    first, again, other = (
        getattr(function(measured[0], seed=seed, **arguments), field)
        for seed in (1, 1, 2)
    )
    # Threads may add in another order: rounding in float32.
    assert again == pytest.approx(first, rel=1e-4)
    assert other != pytest.approx(first, rel=1e-2)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (sharpness.hessian_eigenvalues, {"k": 0}, "`k` must be"),
        (sharpness.hessian_eigenvalues, {"which": "BE"}, "`which` must be"),
        (sharpness.hessian_trace, {"rank": -1}, "`rank` must be"),
        (
            sharpness.hessian_trace,
            {"max_probes": 1},
            "`max_probes` must be an integer >= 2",
        ),
        (
            sharpness.spectral_density,
            {"num_probes": 1},
            "`num_probes` must be an integer >= 2",
        ),
        (
            sharpness.spectral_density,
            {"width": 0},
            "`width` must be a number in",
        ),
    ],
)
def test_bad_argument_is_refused(measured, function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(measured[0], **arguments)
