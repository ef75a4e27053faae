"""The initial state of every test, and the ways of running a step."""

import importlib.util
import math
from collections import Counter
from pathlib import Path

import keras
import pytest

from tests import frameworks
from tests import marks
from tests.methods.table import METHODS

BACKENDS = ("tensorflow", "jax", "torch")

# Tests of one backend are in a folder with its name.
collect_ignore = [
    f"{part}/{name}"
    for part in ("backend", "trainers")
    for name in BACKENDS
    if name != keras.backend.backend()
]

if not all(map(importlib.util.find_spec, BACKENDS)):
    collect_ignore.append("agreement")
# Keras' own tests of trainers import JAX.
if importlib.util.find_spec("jax") is None:
    collect_ignore.append("keras_suite")
if keras.backend.backend() == "torch":
    collect_ignore.append("trainers/test_compiled.py")

# Tests with other libraries, and what they import.
ECOSYSTEM = {
    "guide": ("keras_tuner", "optuna"),
    "keras_hub": ("keras_hub",),
    "orbax": ("orbax", "jax"),
    "searches": ("keras_tuner", "optuna"),
    "sklearn": ("sklearn",),
}
collect_ignore += [
    f"ecosystem/test_{name}.py"
    for name, libraries in ECOSYSTEM.items()
    if not all(map(importlib.util.find_spec, libraries))
]

frameworks.exact()


def pytest_collection_modifyitems(items):
    """Mark the tests of slow files, and slow cases of the others."""
    folder = Path(__file__).parent
    cases = Counter()
    for item in items:
        file = item.path.relative_to(folder).as_posix()
        test = getattr(item, "originalname", item.name)
        is_represented = (
            file.startswith(marks.REPRESENTED)
            and test not in marks.FOR_EVERY_METHOD
            and _methods_of(item) - {*marks.COMPILED}
        )
        # The first case is fast if there is no other.
        if is_represented and cases[file, test]:
            item.add_marker(marks.slow)
            continue
        cases[file, test] += 1
        most = marks.FAST_CASES.get(file, {}).get(test, math.inf)
        if file.startswith(marks.SLOW_FILES) or cases[file, test] > most:
            item.add_marker(marks.slow)


def _methods_of(item):
    """Return the names of methods among the parameters of a test."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {v for v in values if isinstance(v, str) and v in METHODS}


@pytest.fixture(autouse=True)
def _same_start():
    """Seed every generator, and undo what a test changes globally."""
    keras.utils.set_random_seed(0)
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


@pytest.fixture(params=marks.MODES)
def mode(request):
    """Arguments of `compile` for each way of running a step."""
    return dict(frameworks.MODES[request.param])
