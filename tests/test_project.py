"""Rules for the whole project: imports, floors, docstrings."""

import ast
import configparser
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_sam
from keras_sam.methods import Method
from tests import marks
from tests.methods import table

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "keras_sam"
FRAMEWORKS = {"tensorflow", "jax", "torch"}
MODULES = sorted(
    str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")
)


def imported_names(source, walk=ast.walk):
    """Return the absolute name of every module that source code imports."""
    names = set()
    for node in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imported_names_finds_every_form_of_import():
    source = """
import tensorflow as tf
def f():
    from keras import src
    from jax.numpy import sum
"""
    assert imported_names(source) == {
        "tensorflow",
        "keras",
        "keras.src",
        "jax.numpy",
        "jax.numpy.sum",
    }


@pytest.mark.parametrize("module", MODULES)
def test_frameworks_and_private_keras_stay_where_they_belong(module):
    names = imported_names((PACKAGE / module).read_text())
    frameworks = {n for n in names if n.split(".")[0] in FRAMEWORKS}
    private = {n for n in names if f"{n}.".startswith("keras.src.")}
    assert not frameworks or module.startswith(("backend", "trainers"))
    assert not private or module.startswith("backend")


# The lower a floor, the earlier in the list. A module imports from its own
# floor and from those below; what is not listed stands on top of them all.
FLOORS = (
    ("types", "plots"),
    ("backend",),
    ("vectors",),
    ("methods", "schedules", "validation"),
    ("engine",),
    ("settings", "model_state"),
    ("trainers",),
    ("adoption",),
    ("sam_model", "custom_loop"),
)


def floor(name):
    """Return the number of the floor that a module of the package is on."""
    part = name.removeprefix("keras_sam.").split(".")[0]
    for number, parts in enumerate(FLOORS):
        if part in parts:
            return number
    return len(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_never_go_up(module):
    own = floor(module.removesuffix(".py").replace("/", "."))
    names = imported_names((PACKAGE / module).read_text())
    imported = {n for n in names if n.startswith("keras_sam.")}
    assert not {n for n in imported if floor(n) > own}


def test_package_needs_keras_and_numpy_only():
    """A module that a function imports when called may be missing."""
    names = set()
    for module in MODULES:
        names |= imported_names(
            (PACKAGE / module).read_text(), ast.iter_child_nodes
        )
    outside = {name.split(".")[0] for name in names}
    outside -= set(sys.stdlib_module_names) | {"keras_sam"}
    assert outside - FRAMEWORKS <= {"keras", "numpy"}


def test_import_works_without_the_requirements_of_examples_and_plots():
    # Keras loads some of these itself if they are there.
    code = (
        "import sys, keras\n"
        "for name in ('PIL', 'matplotlib', 'rich', 'sklearn'):\n"
        "    sys.modules[name] = None\n"
        "import keras_sam"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_readme_names_the_supported_versions_of_setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    options, extras = config["options"], config["options.extras_require"]
    readme = (ROOT / "README.md").read_text()
    for name, requirement in [
        ("Python", options["python_requires"]),
        ("Keras", options["install_requires"]),
        ("TensorFlow", extras["tensorflow"]),
    ]:
        oldest = re.search(r">=\s*([\d.]+)", requirement).group(1)
        assert f"{name} {oldest}" in readme


def parameters(value):
    """Return the names of the arguments that a docstring must explain."""
    signature = inspect.signature(value)
    return [
        name for name in signature.parameters if name not in ("self", "cls")
    ]


@pytest.mark.parametrize(
    "name", [n for n in vars(keras_sam) if callable(getattr(keras_sam, n))]
)
def test_public_functions_document_arguments_and_results(name):
    value = getattr(keras_sam, name)
    docstring = inspect.getdoc(value)
    _, _, arguments = docstring.partition("Args:")
    is_result = inspect.isclass(value) and "Attributes:" in docstring
    for parameter in parameters(value):
        assert is_result or re.search(
            rf"^\s+\**{parameter}:", arguments, flags=re.MULTILINE
        )
    if not inspect.isclass(value):
        assert "Returns:" in docstring


def is_method(value):
    return inspect.isclass(value) and issubclass(value, Method)


METHODS = {
    value for value in vars(keras_sam.methods).values() if is_method(value)
} - {Method}


def test_every_method_is_in_the_table_of_methods():
    assert {type(row.method) for row in table.METHODS.values()} == METHODS


@pytest.mark.parametrize("method", sorted(METHODS, key=str))
def test_method_documents_hyperparameters_formula_and_paper(method):
    docstring = inspect.getdoc(method)
    for parameter in parameters(method):
        assert re.search(rf"^\s+{parameter}:", docstring, flags=re.MULTILINE)
    assert "Reference:" in docstring
    assert "https://" in docstring
    # A formula in plain text: something with an operator, in backticks.
    assert re.search(r"`[^`]*\s[-=*/>]+\s[^`]*`", docstring)


@pytest.mark.parametrize("file", marks.FAST_CASES)
def test_tests_of_which_only_some_cases_are_fast_exist(file):
    source = (ROOT / "tests" / file).read_text()
    for name in marks.FAST_CASES[file]:
        assert f"def {name}(" in source
