"""A perturbation for each device needs compiled steps."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_uncompiled_steps_on_devices_are_refused_and_change_nothing():
    process = subprocess.run(
        [sys.executable, "-m", "tests.backend.jax.uncompiled"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.count("refused: On JAX, a perturbation") == 2
