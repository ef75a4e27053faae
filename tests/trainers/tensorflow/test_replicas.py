import json

import pytest

from tests.running import printed_by
from tests.trainers.tensorflow import replicas

CASES = [
    *(f"{method}, global" for method in replicas.GLOBAL),
    *replicas.SPECIAL,
]


@pytest.fixture(scope="module")
def outcome():
    methods, settings = (
        json.loads(
            printed_by(
                "-m", "tests.trainers.tensorflow.replicas", part
            ).splitlines()[-1]
        )
        for part in ("methods", "settings")
    )
    results = {**methods["results"], **settings["results"]}
    return {**settings, "results": results}


@pytest.mark.parametrize("case", CASES)
def test_two_replicas_do_what_one_device_does(outcome, case):
    """With "global"; `tests/engine/test_law_of_parts.py` has the others."""
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
    assert "method=LookSAM" in outcome["refused"]["conditional"]


def test_what_keras_and_tensorflow_cannot_do_is_refused_by_name(outcome):
    assert "issues/20582" in outcome["refused"]["accumulation"]
    assert "`jit_compile=False`" in outcome["refused"]["XLA"]


def test_replicas_talk_no_more_than_in_a_plain_step(outcome):
    collectives = outcome["collectives"]
    assert collectives["sam"] == collectives["plain"] > 0


@pytest.mark.parametrize("method", replicas.STATEFUL)
def test_variables_are_synchronized_as_those_of_keras(outcome, method):
    """So that a TPU, which this was not run on, accepts them as it does those.

    Of `tf.VariableSynchronization`, it has classes for two.
    """
    found = outcome["variables"][method]
    assert found["method state"]
    assert all(kept == found["statistics"] for kept in found["method state"])
    assert all(kept == found["metric"] for kept in found["counted"])
    assert found["statistics"][2] and found["metric"][2]
