"""What a step on several devices does; `replicas.py` does it."""

import json

import pytest

from tests.running import printed_by
from tests.trainers.jax import replicas

CASES = [*replicas.CASES, "masks", "model_parallel", "layouts of outputs"]


@pytest.fixture(scope="module")
def outcome():
    printed = printed_by("-m", "tests.trainers.jax.replicas")
    return json.loads(printed.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_four_devices_do_what_one_device_does(outcome, case):
    """With a micro-batch on the one for each perturbation on the four.

    That covers the normalization of the loss where masks and sample weights
    are spread unevenly.
    """
    result = outcome["results"][case]
    # Six steps of float32 sums over 32 examples, taken in another order: some
    # ten roundings of 6e-8 on weights of order one.
    assert result["variables"] < 2e-6
    assert result["logs"] < 2e-6
    assert abs(result["sharpness"]) > 1e-3  # MomentumSAM may descend.


def test_moving_statistics_are_means_over_shards(outcome):
    # A few float32 operations on numbers of order one.
    assert max(outcome["statistics"]) < 1e-6


def test_memory_of_a_method_lies_where_the_weights_do(outcome):
    layouts = outcome["results"]["model_parallel"]["layouts"]
    assert layouts == ["P(None, 'model')"]


def test_groups_draw_masks_of_their_own(outcome):
    """And the seed is left as after a step on one device."""
    many, one = outcome["dropout"]["many"], outcome["dropout"]["one"]
    # With the same mask on all devices every mean would be 0 or 2.
    assert {0.5, 1.0, 1.5} <= set(many["slopes"])
    assert many["seed"] == one["seed"]


def test_examples_that_groups_share_are_named(outcome):
    assert "rows {x[0]: 8, x[1]: 4, y: 8}" in outcome["lengths"]


def test_groups_must_divide_the_replicas(outcome):
    assert "perturbation=3" in outcome["refused"]
    assert "replicas, 4" in outcome["refused"]


@pytest.mark.parametrize(
    ("perturbation", "times"), [("None", 1), ("replica", 1), ("global", 2)]
)
def test_gradients_cross_the_devices_no_more_than_needed(
    outcome, perturbation, times
):
    """As often as in a plain step ("None"), and once more for "global"."""
    result = outcome["reductions"][perturbation]
    assert result["numbers"] == times * result["parameters"]
    assert result["others"] == 0
