"""Training leaves nothing behind: see `memory.py`."""

import json

import pytest

from tests import marks
from tests import running
from tests.frameworks import COMPILED

MODES = ["eager", "graph"] if "eager" not in COMPILED else ["eager"]


@marks.slow
@pytest.mark.parametrize("what", ["steps", "models", "recompilations"])
@pytest.mark.parametrize("mode", MODES)
def test_memory_stays_flat(what, mode):
    printed = running.printed_by("-m", "tests.trainers.memory", what, mode)
    grown = json.loads(printed.splitlines()[-1])
    # A copy of the weights at each of 2,000 steps would be 130 MB.
    assert grown["MB"] < 20
    # One object for each of 30 recompilations is the least that could stay.
    assert grown["objects"] < 30
