"""The marks of slow tests, which compile a step or start processes.

Each promise has at least one fast test.
"""

import pytest

from tests import frameworks


def slow_but(fast, values):
    """Return values as parameters, all of them slow but those in `fast`."""
    return [
        pytest.param(*_as_tuple(value), marks=() if value in fast else slow)
        for value in values
    ]


def _as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


slow = pytest.mark.slow

MODES = slow_but(["eager"], frameworks.MODES)
"""Names of all ways of running a step; the eager one is fast."""

ONE_OR_TWO = slow_but([1], [1, 2])
"""Numbers of micro-batches, where every method is tried."""

EAGER_AND_GRAPH = [
    pytest.param({"run_eagerly": True}, id="eager"),
    pytest.param(frameworks.GRAPH, id="graph", marks=slow),
]
"""Arguments of `compile`."""

SLOW_FILES = (
    "agreement/",
    "ecosystem/",
    "trainers/jax/test_processes.py",
    "trainers/jax/test_replicas.py",
    "trainers/jax/test_uncompiled.py",
    "trainers/tensorflow/test_programs.py",
    "trainers/tensorflow/test_replica_runs.py",
    "trainers/tensorflow/test_replicas.py",
    "trainers/tensorflow/test_workers.py",
    "trainers/torch/test_compile.py",
    "experiments/test_smoke.py",
    "keras_suite/",
    "test_examples.py",
    "test_notebooks.py",
)
