import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backend.tensorflow import replicas

ROOT = Path(__file__).parents[3]
CASES = [
    f"{method}, {perturbation}"
    for method in replicas.METHODS
    for perturbation in ("replica", "global")
    if (method, perturbation) != ("ae_sam", "global")
]


@pytest.fixture(scope="module")
def outcome():
    process = subprocess.run(
        [sys.executable, "-m", "tests.backend.tensorflow.replicas"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_two_replicas_do_what_one_device_does(outcome, case):
    """With "replica", one device with two micro-batches; else with one."""
    result = outcome["results"][case]
    # Nine steps of float32 sums over 32 examples, taken in another order:
    # some ten roundings of 6e-8 on weights of order one.
    assert result["weights"] < 2e-6
    assert result["logs"] < 2e-6
    assert result["moved"] > 0.1


@pytest.mark.parametrize("case", CASES)
def test_replicas_keep_the_same_weights_to_the_bit(outcome, case):
    assert outcome["results"][case]["copies"] == 0.0


def test_groups_of_replicas_are_refused_by_name(outcome):
    assert "perturbation=2" in outcome["refused"]["group"]


def test_communication_inside_a_conditional_is_refused(outcome):
    assert "method=LookSAM" in outcome["refused"]["look_sam"]
    assert "method=AESAM" in outcome["refused"]["ae_sam"]
