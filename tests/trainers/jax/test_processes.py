import json
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.running import ROOT
from tests.running import TIMEOUT
from tests.running import environment


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.trainers.jax.processes", *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def outcomes():
    """Return what one process, and each of two, have after training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    both = [start(address, number) for number in ("0", "1")]
    try:
        return [result(process) for process in (start(), *both)]
    finally:
        for process in both:
            process.kill()


@pytest.mark.parametrize("method", ["sam", "friendly_sam"])
def test_two_processes_do_what_one_with_two_devices_does(outcomes, method):
    alone, first, second = (outcome[method] for outcome in outcomes)
    assert first == second
    # The same program; only the reduction over devices is another one. Three
    # steps of some ten roundings of 6e-8 on weights of order one.
    np.testing.assert_allclose(
        first["weights"], alone["weights"], rtol=0, atol=2e-6
    )
    for name, values in alone["logs"].items():
        np.testing.assert_allclose(first["logs"][name], values, rtol=2e-6)
    assert min(alone["logs"]["sharpness"]) > 0
