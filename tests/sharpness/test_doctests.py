"""The examples in the docstrings of `keras_sam.sharpness`."""

import doctest
import inspect
import math

import pytest

from keras_sam import sharpness
from keras_sam.sharpness import progress

# The classes of results have no examples: the functions return them.
PUBLIC = [
    value for value in vars(sharpness).values() if inspect.isfunction(value)
] + [sharpness.Curvature, sharpness.Objective, sharpness.Trajectory]


def run(docstring, name, names):
    """Run the examples of a docstring, which may use and define names."""
    test = doctest.DocTestParser().get_doctest(docstring, names, name, None, 0)
    assert test.examples
    runner, output = doctest.DocTestRunner(verbose=False), []
    runner.run(test, out=output.append, clear_globs=False)
    assert not runner.failures, "".join(output)
    return test.globs


@pytest.mark.parametrize("value", PUBLIC, ids=lambda value: value.__name__)
def test_examples_give_what_they_show(value, monkeypatch):
    # A progress bar would be part of the output.
    monkeypatch.setattr(progress, "PATIENCE", math.inf)
    names = run(sharpness.__doc__, "sharpness", {})
    run(value.__doc__, value.__name__, names)
