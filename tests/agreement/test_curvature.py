"""Second derivatives of the three backends are the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.agreement.curvature import CASES

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensorflow", "jax", "torch")

# Sums of some hundred terms, a few layers deep, in float32, whose rounding is
# 6e-8 a term. The fault of `tf.nn.moments` is 4e-2 and more.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return what each backend wrote."""
    folder = tmp_path_factory.mktemp("curvature")
    found = {}
    for backend in BACKENDS:
        path = folder / f"{backend}.npz"
        process = subprocess.run(
            [sys.executable, "-m", "tests.agreement.curvature", str(path)],
            cwd=ROOT,
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr[-3000:]
        found[backend] = np.load(path)
    return found


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
@pytest.mark.parametrize("kind", ["product", "gauss_newton", "eigenvalues"])
@pytest.mark.parametrize(("name", "training"), CASES)
def test_curvature_is_that_of_jax(name, training, kind, backend, results):
    key = f"{name}/{training}/{kind}"
    expected = results["jax"][key]
    largest = np.abs(expected).max()
    assert largest > 1e-3
    np.testing.assert_allclose(
        results[backend][key], expected, rtol=0, atol=TOLERANCE * largest
    )
