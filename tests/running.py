"""Runs modules and scripts in separate processes."""

import os
import subprocess
import sys
from pathlib import Path

import keras

ROOT = Path(__file__).parents[1]
TIMEOUT = 540  # Seconds. Only a process that hangs takes that long.


def environment(**variables):
    """Return an environment in which the package and the tests are found."""
    return {
        **{k: v for k, v in os.environ.items() if k != "TF_CONFIG"},
        "KERAS_BACKEND": keras.backend.backend(),
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "agg",
        **variables,
    }


def printed_by(*arguments, cwd=ROOT, **variables):
    """Return the output of `python ARGUMENTS`, which must end without error.

    `variables` are those of the environment.
    """
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout
