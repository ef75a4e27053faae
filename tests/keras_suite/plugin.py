"""A plugin of pytest: Keras' own tests run with sharpness-aware steps.

The environment variable `KERAS_SUITE_MODE` says how:

| mode | what the tests of Keras get |
| --- | --- |
| `plain` | Keras as it is |
| `step-0` | for every model the step of `SAMModel`, with a radius of 0 |
| `step` | the same, with a radius so small that no number of a test changes |
| `class` | `SAMModel` in the place of `Model` and `Functional`, that radius |

The one thing that a test must not see is the log `sharpness`, which a
`SAMModel` has beside those of `keras.Model`.
"""

import functools
import os
import sys
import types

import keras
import pytest

from keras_sam import trainers
from tests.keras_suite import class_mode
from tests.keras_suite import step_mode

RHO = 1e-9
MODE = os.environ.get("KERAS_SUITE_MODE", "plain")


def _without_sharpness(train_step):
    """Return a `train_step` whose logs are those of `keras.Model`."""

    @functools.wraps(train_step)
    def step(*args):
        result = train_step(*args)
        # On JAX there is the new state beside the logs.
        logs = result[0] if isinstance(result, tuple) else result
        del logs["sharpness"]
        return result

    return step


trainers.Trainer.train_step = _without_sharpness(trainers.Trainer.train_step)

if MODE == "step-0":
    step_mode.start(rho=0.0)
elif MODE == "step":
    step_mode.start(rho=RHO)
elif MODE == "class":
    class_mode.start(rho=RHO)


def _conftest():
    """Return what Keras' tests import from a file that its wheel lacks."""

    def skip_if_backend(backend, reason):
        is_current = keras.backend.backend() == backend
        return pytest.mark.skipif(is_current, reason=reason)

    module = types.ModuleType("conftest")
    module.skip_if_backend = skip_if_backend
    return module


sys.modules.setdefault("conftest", _conftest())


def pytest_configure(config):
    """Register the markers of Keras' tests."""
    for name in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", f"{name}: of Keras")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Import a file of tests with `SAMModel` in the place of `Model`."""
    if MODE != "class" or not isinstance(collector, pytest.Module):
        return (yield)
    with class_mode.substituted():
        report = yield
    class_mode.substitute_in(collector.obj)
    return report
