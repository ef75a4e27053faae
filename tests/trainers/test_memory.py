"""Training leaves nothing behind: see `memory.py`."""

import json

import pytest

from tests import marks
from tests import running
from tests.frameworks import COMPILED

MODES = ["eager", "graph"] if "eager" not in COMPILED else ["eager"]


def grown(*arguments):
    printed = running.printed_by("-m", "tests.trainers.memory", *arguments)
    return json.loads(printed.splitlines()[-1])


@marks.slow
@pytest.mark.parametrize("mode", MODES)
def test_steps_leave_nothing(mode):
    found = grown("steps", "sharp", mode)
    # A copy of the weights at each of 2,000 steps would be 130 MB.
    assert found["MB"] < 20
    assert found["objects"] < 50


@marks.slow
@pytest.mark.parametrize("what", ["models", "recompilations"])
@pytest.mark.parametrize("mode", MODES)
def test_models_leave_no_more_than_those_of_keras(what, mode):
    """With TensorFlow, Keras itself leaves 2,250 objects of each function."""
    plain, sharp = (grown(what, kind, mode) for kind in ("plain", "sharp"))
    # Those of a sharp step are 7 % more; what it traces is twice as much. One
    # object for each of 30 models would be 30.
    assert sharp["objects"] < 1.2 * plain["objects"] + 25
    assert sharp["MB"] < 1.5 * plain["MB"] + 20
