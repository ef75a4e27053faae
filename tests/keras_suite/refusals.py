"""Tests of Keras that fail with `SAMModel` for a reason, and the reason."""

import keras

_STEP = {}
_CLASS = {}


def of(mode):
    """Return the reasons by test.

    Args:
        mode: One of `comparison.MODES`. A radius of 0 has no exception.
    """
    backend = keras.backend.backend()
    reasons = {"step-0": {}, "step": _STEP, "class": _CLASS}[mode]
    return {
        test: reason
        for (test, *backends), reason in reasons.items()
        if not backends or backend in backends
    }
