"""The three backends measure the same."""

import numpy as np
import pytest

from tests.agreement.curvature import CASES
from tests.agreement.curvature import LANCZOS_STEPS
from tests.agreement.curvature import MEASURED_CASES
from tests.running import printed_by

BACKENDS = ("tensorflow", "jax", "torch")

# Sums of some hundred terms, a few layers deep, in float32, whose rounding is
# 6e-8 a term. The fault of `tf.nn.moments` is 4e-2 and more.
TOLERANCE = 2e-5
# A loss is the mean of 12 logarithms: some ten such roundings.
LOSS_TOLERANCE = 1e-6

OF_EVERY_NETWORK = ("loss", "product", "gauss_newton", "eigenvalues")
OF_SOME = ("trace", "density", "worst_case", "average", "surface")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return the results of each backend."""
    folder = tmp_path_factory.mktemp("curvature")
    found = {}
    for backend in BACKENDS:
        path = folder / f"{backend}.npz"
        printed_by(
            *("-m", "tests.agreement.curvature", path),
            KERAS_BACKEND=backend,
            # One thread: PyTorch's, waiting for each other beside another
            # worker of pytest, took five times as long.
            OMP_NUM_THREADS="1",
        )
        found[backend] = np.load(path)
    return found


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
@pytest.mark.parametrize(
    ("name", "training", "kind"),
    [(*case, kind) for case in CASES for kind in OF_EVERY_NETWORK]
    + [(*case, kind) for case in MEASURED_CASES for kind in OF_SOME],
)
def test_measure_is_that_of_jax(name, training, kind, backend, results):
    key = f"{name}/{training}"
    expected = results["jax"][f"{key}/{kind}"]
    largest = np.abs(expected).max()
    assert largest > 1e-3
    tolerance = TOLERANCE * largest
    if kind in ("worst_case", "average"):
        # Differences of two losses, the higher of which is about this.
        highest = results["jax"][f"{key}/loss"] + largest
        tolerance = 2 * LOSS_TOLERANCE * highest
    elif kind in ("loss", "surface"):
        tolerance = LOSS_TOLERANCE * largest
    elif kind == "density":
        # It moves as Ritz values do against its width, which is one part in
        # so many of their range.
        tolerance *= LANCZOS_STEPS
    np.testing.assert_allclose(
        results[backend][f"{key}/{kind}"], expected, rtol=0, atol=tolerance
    )
