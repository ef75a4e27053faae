"""Several workers, each a process, over loopback."""

import json
import time

import keras
import numpy as np
import pytest

import keras_sam  # noqa: F401, so that its models load
from tests.running import printed_by
from tests.trainers.tensorflow import jobs


@pytest.fixture(scope="module")
def outcomes():
    """What two workers printed, and one process with two replicas."""
    with jobs.Job(["-m", "tests.trainers.tensorflow.workers"]) as job:
        printed = job.wait()
    printed.append(printed_by("-m", "tests.trainers.tensorflow.workers"))
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


def test_killed_job_restarts_and_ends_with_the_weights_of_a_whole_run(tmp_path):
    def command(name):
        return [
            "examples/multi_worker.py",
            "--smoke",
            *("--backup", str(tmp_path / name)),
            *("--output", str(tmp_path / f"{name}.keras")),
        ]

    with jobs.Job(command("whole")) as job:
        job.wait()
    with jobs.Job(command("killed")) as job:
        wait_for_a_backup(tmp_path / "killed" / "worker_0", job)
        job.processes[1].kill()
    assert not (tmp_path / "killed.keras").exists()

    with jobs.Job(command("killed")) as job:
        printed, _ = job.wait()
    assert "Epoch 1/4" not in printed
    assert "Epoch 4/4" in printed
    whole, killed = (
        keras.models.load_model(tmp_path / f"{name}.keras").get_weights()
        for name in ("whole", "killed")
    )
    keras.tree.map_structure(np.testing.assert_array_equal, whole, killed)


def wait_for_a_backup(folder, job):
    """Wait until the first epoch, of four, has just been backed up."""
    deadline = time.monotonic() + jobs.TIMEOUT
    while not (folder / "training_metadata.json").exists():
        assert job.is_running() and time.monotonic() < deadline
        time.sleep(0.01)
