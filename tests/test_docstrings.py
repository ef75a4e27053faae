"""The examples in docstrings, apart from those of `keras_sam.sharpness`."""

import doctest

import keras
import numpy as np
import pytest
from keras import ops

import keras_sam
from keras_sam import vectors

MODULES = (keras_sam.schedules, keras_sam.data, vectors)
WITH_EXAMPLES = [
    getattr(module, name)
    for module in MODULES
    for name in module.__all__
    if ">>>" in (getattr(module, name).__doc__ or "")
]


@pytest.mark.parametrize("value", WITH_EXAMPLES, ids=lambda v: v.__name__)
def test_examples_give_what_they_show(value):
    names = {"keras": keras, "keras_sam": keras_sam, "np": np, "ops": ops}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    test = parser.get_doctest(value.__doc__, names, value.__name__, None, 0)
    output = []
    runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_each_of_the_modules_has_examples(module):
    assert any(v.__module__.startswith(module.__name__) for v in WITH_EXAMPLES)
