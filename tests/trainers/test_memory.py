"""Training leaves nothing behind: see `memory.py`."""

import json

import pytest

from tests import marks
from tests import running
from tests.frameworks import COMPILED

MODES = ["eager", "graph"] if "eager" not in COMPILED else ["eager"]


def grown(what, mode):
    printed = running.printed_by("-m", "tests.trainers.memory", what, mode)
    return json.loads(printed.splitlines()[-1])


@marks.slow
@pytest.mark.parametrize("what", ["steps", "models"])
@pytest.mark.parametrize("mode", MODES)
def test_memory_stays_flat(what, mode):
    found = grown(what, mode)
    # A copy of the weights at each of 2,000 steps would be 130 MB.
    assert found["MB"] < 20
    # One object for each of 100 models would be 100.
    assert found["objects"] < 50


@marks.slow
@pytest.mark.parametrize("mode", MODES)
def test_recompilations_leave_no_more_than_those_of_keras(mode):
    """With TensorFlow, Keras itself leaves 2,250 objects each time."""
    plain, sharp = (
        grown(what, mode) for what in ("plain_recompilations", "recompilations")
    )
    # Those of a sharp step are 6 % more; what it traces is twice as much.
    assert sharp["objects"] < 1.2 * plain["objects"] + 30
    assert sharp["MB"] < 1.5 * plain["MB"] + 20
