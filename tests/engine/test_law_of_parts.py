"""The law of parts: a step is the mean, over parts, of both passes on each.

Each method on 1, 2 and 3 parts in each way that a backend has, compared with
the reference on so many parts.
"""

import functools
import json

import pytest

from tests import frameworks
from tests import marks
from tests import small_network
from tests.engine import side_by_side
from tests.methods.table import METHODS
from tests.methods.table import MOMENTUM
from tests.running import printed_by

SIZES = {
    # Batches of 5, 5 and 2 examples: three parts of the last are two of one.
    "one after another": (12, small_network.BATCH_SIZE),
    "side by side": (side_by_side.NUM_EXAMPLES, side_by_side.BATCH_SIZE),
}
"""Numbers of examples in all and of a batch."""


@functools.cache
def steps_side_by_side(num_parts):
    """Return what `side_by_side.py` prints."""
    printed = printed_by("-m", "tests.engine.side_by_side", str(num_parts))
    return json.loads(printed.splitlines()[-1])


@pytest.mark.parametrize("num_parts", [1, 2, 3])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "way", marks.slow_but(["one after another"], frameworks.PARTS)
)
def test_a_step_is_the_mean_over_its_parts(way, name, num_parts):
    number, batch_size = SIZES[way]
    steps = small_network.reference_steps(
        small_network.network(),
        METHODS[name].formula,
        METHODS[name].rho,
        number,
        batch_size=batch_size,
        momentum=MOMENTUM,
        num_microbatches=num_parts,
    )
    if way == "one after another":
        model = small_network.of_method(
            name, small_network.EAGER, MOMENTUM, num_microbatches=num_parts
        )
        small_network.assert_same_training(model, steps, number)
    else:
        found = steps_side_by_side(num_parts)[name]
        small_network.assert_same_steps(**found, steps=steps)
