"""Longer, uneven, compiled and resumed runs on two replicas."""

import json

import pytest

from tests.running import printed_by

# Some ten roundings of 6e-8 on weights of order one: float32 sums in another
# order, over nine to twelve steps.
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def outcome():
    printed = printed_by("-m", "tests.trainers.tensorflow.replica_runs")
    return json.loads(printed.splitlines()[-1])


def test_shards_of_different_size_count_the_same_as_in_keras(outcome):
    """Each replica perturbs by its own shard; the two are averaged."""
    assert outcome["uneven"] < TOLERANCE


def test_compiled_replicas_do_what_microbatches_do(outcome):
    assert outcome["compiled"]["weights"] < TOLERANCE
    assert outcome["compiled"]["logs"] < TOLERANCE
    assert outcome["compiled"]["copies"] == 0.0


def test_copies_are_the_same_to_the_bit_after_hundreds_of_steps(outcome):
    result = outcome["many steps"]
    assert result["steps"] == 300
    assert result["moved"] > 0.1
    assert result["copies"] == 0.0


def test_file_of_two_replicas_holds_what_one_device_needs(outcome):
    assert outcome["loaded"] == {"weights": 0.0, "optimizer": 0.0}


@pytest.mark.parametrize("change", ["2 to 1", "1 to 2"])
def test_checkpoint_goes_on_with_another_number_of_replicas(outcome, change):
    """Weights and the method's state are those of a run without a stop."""
    assert outcome[change] < TOLERANCE


def test_refused_accumulation_leaves_the_model_untouched(outcome):
    result = outcome["accumulation"]
    assert "gradient_accumulation_steps=2" in result["message"]
    assert "issues/20582" in result["message"]
    assert result["untouched"]
    assert result["iterations"] == 0


def test_a_loss_is_measured_in_and_out_of_the_scope_of_a_strategy(outcome):
    expected, outside, inside = outcome["measured"]
    assert outside == pytest.approx(expected, rel=2e-7)
    assert inside == pytest.approx(expected, rel=2e-7)


def test_weights_are_averaged_as_on_one_device(outcome):
    """With normalization, whose statistics are estimated from whole batches."""
    assert outcome["averaged"]["weights"] < TOLERANCE
    assert outcome["averaged"]["copies"] == 0.0
