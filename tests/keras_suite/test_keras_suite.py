"""A part of Keras' own tests; `python -m tests.keras_suite` runs them all."""

import pytest

from tests.keras_suite import comparison


@pytest.mark.parametrize(
    "group, mode", [("trainers", "step"), ("models", "class")]
)
def test_sharp_steps_break_no_test_of_keras(group, mode):
    found = comparison.compare(group, mode)
    assert not found.new, "\n".join(found.new)
    assert not found.needless
    # Of `trainer_test.py` nothing runs without JAX.
    assert found.passed or found.failed_anyway
