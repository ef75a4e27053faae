"""Several workers, each a process, over loopback."""

import json

import keras
import numpy as np
import pytest

from tests.backend.tensorflow import jobs


@pytest.fixture(scope="module")
def outcomes():
    """What two workers printed, and one process with two replicas."""
    with jobs.Job(["-m", "tests.backend.tensorflow.workers"]) as job:
        printed = job.wait()
    printed.append(jobs.run(["-m", "tests.backend.tensorflow.workers"]))
    return [json.loads(text.splitlines()[-1]) for text in printed]


@pytest.mark.parametrize("case", ["graph", "XLA", "steps", "unbuilt"])
def test_workers_end_with_the_same_weights_and_results(outcomes, case):
    first, second, _ = outcomes
    assert first[case] == second[case]


@pytest.mark.parametrize("case", ["graph", "XLA", "steps", "unbuilt"])
def test_workers_do_what_replicas_of_one_process_do(outcomes, case):
    first, _, one_process = outcomes
    # Nine steps of float32 sums over 32 examples, taken in another order:
    # some ten roundings of 6e-8 on values of order one.
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6),
        first[case],
        one_process[case],
    )
    assert min(first[case]["logs"]["sharpness"]) > 0
