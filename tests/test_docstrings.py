"""The example in the docstring of every public name, and what it shows."""

import doctest
import importlib
import inspect
import math
import re
import typing

import keras
import matplotlib
import numpy as np
import pytest
from keras import ops

import keras_sam
from keras_sam.sharpness import progress
from tests.experiments import stored
from tests.site.test_pages import public_names

# "Example, with the model of `keras_sam.sharpness`:" goes on from there.
BEGINNING = re.compile(r"Example, with the \w+ of `([\w.]+)`:")


def named(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


VALUES = {name: named(name) for name in sorted(public_names())}
WITH_EXAMPLES = {
    name: value.__doc__
    for name, value in VALUES.items()
    if callable(value) and ">>>" in (value.__doc__ or "")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random images in the files of tensorflow-datasets."""
    path = tmp_path_factory.mktemp("tensorflow_datasets")
    stored.store("cifar10", path, "tfrecord")
    stored.store("food101", path, "array_record")
    return path


def run(docstring, name, names):
    """Run the examples of a docstring, which may use and define names."""
    test = doctest.DocTestParser().get_doctest(docstring, names, name, None, 0)
    assert test.examples
    runner, output = doctest.DocTestRunner(verbose=False), []
    runner.run(test, out=output.append, clear_globs=False)
    assert not runner.failures, "".join(output)
    return test.globs


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_an_example_gives_what_it_shows(name, request, monkeypatch):
    # A progress bar would be part of the output.
    monkeypatch.setattr(progress, "PATIENCE", math.inf)
    monkeypatch.setitem(matplotlib.rcParams, "backend", "agg")
    docstring = WITH_EXAMPLES[name]
    names = {"keras": keras, "keras_sam": keras_sam, "np": np, "ops": ops}
    if "with `folder` for" in docstring:
        names["folder"] = str(request.getfixturevalue("folder"))
    if beginning := BEGINNING.search(docstring):
        module = importlib.import_module(beginning[1])
        names = run(module.__doc__, beginning[1], names)
    run(docstring, name, names)
    if name.startswith("keras_sam.plots"):
        matplotlib.pyplot.close("all")


def returned_by(result):
    """Return the public functions with an example that return a class."""
    return [
        name
        for name in WITH_EXAMPLES
        if inspect.isfunction(VALUES[name])
        and typing.get_type_hints(VALUES[name]).get("return") is result
    ]


@pytest.mark.parametrize(
    "name", [name for name in VALUES if name not in WITH_EXAMPLES]
)
def test_what_has_no_example_is_shown_in_one(name):
    value = VALUES[name]
    if callable(value):
        # A result, whose docstring names a function that returns it.
        functions = returned_by(value)
        assert any(f"`{function}`" in value.__doc__ for function in functions)
    else:
        # A constant, which has no docstring.
        own = re.compile(rf">>> .*\b{name.rpartition('.')[2]}\b")
        assert any(own.search(text) for text in WITH_EXAMPLES.values())
