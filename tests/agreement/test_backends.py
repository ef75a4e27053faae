"""The three backends do the same. Collected only where all are installed."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.agreement.train import EPOCHS
from tests.test_methods import METHODS

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensorflow", "jax", "torch")

# As in `test_methods.py`, but 50 steps, and each result off by as much. What
# is rounded early passes through all later steps; where they contract it fades
# and where they do not it grows with their number, not exponentially, because
# the loss has flattened by then.
TOLERANCE = 2 * 50 * 30 * 2**-24


def train(folder, backend, *names):
    """Run `train.py`; return what it wrote."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.agreement.train", folder, *names],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return np.load(folder / f"{names[0]}.npz")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return what each backend wrote, and what TensorFlow did with the last."""
    folder = tmp_path_factory.mktemp("backends")
    found = {"tensorflow": train(folder, "tensorflow", "tensorflow")}
    for earlier, backend in itertools.pairwise(BACKENDS):
        found[backend] = train(folder, backend, backend, earlier)
    found["again"] = train(folder, "tensorflow", "again", "torch")
    return found


def assert_close(actual, expected):
    largest = np.max(np.abs(expected))
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=TOLERANCE * largest
    )


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("method", METHODS)
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
    "backend, earlier",
    [("jax", "tensorflow"), ("torch", "jax"), ("again", "torch")],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_file_goes_on_where_it_was_written(method, backend, earlier, results):
    """With optimizer and the method's memory, for the other half."""
    expected = results[earlier][f"{method}/weights"]
    resumed = results[backend][f"{method}/resumed"]
    assert_close(resumed, expected[len(resumed) :])
