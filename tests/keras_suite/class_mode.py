"""Tests of Keras find `SAMModel` where they look for `Model`, `Functional`.

Keras itself does not: it compares classes, and makes functional models of its
own in a `Sequential`.
"""

import contextlib
import importlib
import types

from keras_sam import SAMModel
from keras_sam import methods

PLACES = (
    "keras",
    "keras.models",
    "keras.src.models",
    "keras.src.models.functional",
    "keras.src.models.model",
)
"""Where tests import them from."""

NAMES = ("Functional", "Model")


def start(rho):
    """Let every `SAMModel` have a radius; get the helpers of Keras' tests.

    Args:
        rho: The radius.
    """
    methods.SAM.default_rho = rho
    with substituted():
        importlib.import_module("keras.src.testing.test_case")


@contextlib.contextmanager
def substituted():
    """Open a scope in which imports get `SAMModel`."""
    found = [
        (module, name, vars(module)[name])
        for module in map(importlib.import_module, PLACES)
        for name in NAMES
        if name in vars(module)
    ]
    for module, name, _ in found:
        setattr(module, name, SAMModel)
    yield
    for module, name, value in found:
        setattr(module, name, value)


def substitute_in(module):
    """Let a module of tests find `SAMModel` in the packages it has imported.

    Args:
        module: The module.
    """
    packages = map(importlib.import_module, ("keras.models", *PLACES))
    for name, value in list(vars(module).items()):
        if any(value is package for package in packages):
            setattr(module, name, _Substitute(value))


class _Substitute(types.ModuleType):
    """A package of Keras as it is, but for `Model` and `Functional`."""

    def __init__(self, package):
        super().__init__(package.__name__)
        vars(self)["_package"] = package

    def __getattr__(self, name):
        value = getattr(self._package, name)
        if name in NAMES:
            return SAMModel
        return _Substitute(value) if name == "models" else value

    def __setattr__(self, name, value):
        setattr(self._package, name, value)
