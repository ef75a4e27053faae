"""Modules that need several devices, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def printed_by(name):
    """Return what a module of this folder prints on the JAX backend."""
    process = subprocess.run(
        [sys.executable, "-m", f"tests.backend.jax.{name}"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout
