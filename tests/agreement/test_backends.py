"""The three backends train alike. Collected only if all are installed."""

import itertools

import numpy as np
import pytest

from tests.agreement.train import EPOCHS
from tests.methods.table import ALONG_GRADIENTS
from tests.running import printed_by

BACKENDS = ("tensorflow", "jax", "torch")

# As in `small_network.py`, but 50 steps, and each result off by as much. What
# is rounded early passes through all later steps; where they contract it fades
# and where they do not it grows with their number, not exponentially, because
# the loss has flattened by then.
TOLERANCE = 2 * 50 * 30 * 2**-24


def run(folder, backend, *earlier):
    """Run `train.py` with a backend as name; return its results."""
    printed_by(
        *("-m", "tests.agreement.train", folder, backend, *earlier),
        KERAS_BACKEND=backend,
    )
    suffix = "-resumed" if earlier else ""
    return np.load(folder / f"{backend}{suffix}.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("backends")


@pytest.fixture(scope="module")
def results(folder):
    """Return the results of each backend."""
    return {backend: run(folder, backend) for backend in BACKENDS}


@pytest.fixture(scope="module")
def resumed(folder, results):
    """Return the results of each backend from the files of the others."""
    return {
        backend: run(folder, backend, *(b for b in results if b != backend))
        for backend in BACKENDS
    }


def assert_close(actual, expected):
    largest = np.max(np.abs(expected))
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=TOLERANCE * largest
    )


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("method", ALONG_GRADIENTS)
def test_all_steps_are_those_of_tensorflow(method, backend, results):
    expected, found = results["tensorflow"], results[backend]
    assert len(expected[f"{method}/weights"]) == 5 * EPOCHS
    assert np.ptp(expected[f"{method}/weights"], axis=0).max() > 0.1
    for key in ("weights", "loss"):
        assert_close(found[f"{method}/{key}"], expected[f"{method}/{key}"])
    # It is the difference of two losses, and has their rounding.
    rises = [
        r[f"{method}/sharpness"] + r[f"{method}/loss"]
        for r in (found, expected)
    ]
    assert_close(*rises)


@pytest.mark.parametrize(
    "backend, earlier", list(itertools.permutations(BACKENDS, 2))
)
@pytest.mark.parametrize("method", ALONG_GRADIENTS)
def test_training_resumes_from_a_file_of_another_backend(
    method, backend, earlier, results, resumed
):
    """With optimizer and method state, for the other half."""
    expected = results[earlier][f"{method}/weights"]
    found = resumed[backend][f"{method}/{earlier}"]
    assert_close(found, expected[len(found) :])
