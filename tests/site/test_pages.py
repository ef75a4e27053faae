"""What the pages of the site say: code that runs, names that exist, links.

Notebooks (`{code-cell}`) run when the site is built, which also compares the
inventory of its reference with the public names; see `docs/_ext`.
"""

import importlib
import inspect
import re
import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_sam import methods

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(DOCS)): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if "generated" not in path.parts and "_build" not in path.parts
}
# Fragments of a whole, or examples that go on from another page.
FRAGMENTS = {"index.md", "how_it_works/methods/index.md"}
# `search.md` needs the extra `ecosystem`: tests/ecosystem/test_guide.py.
ELSEWHERE = {"guides/search.md"}


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


WITH_CODE = [
    name
    for name, text in PAGES.items()
    if blocks(text) and name not in ELSEWHERE and ">>>" not in text
]


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.normal(size=(64, 64)).astype("float32"),
        "y_train": generator.integers(0, 10, 64),
    }


@pytest.mark.parametrize("page", sorted({*WITH_CODE} - FRAGMENTS))
def test_code_of_a_guide_runs_from_top_to_bottom(
    page, data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    try:
        for block in blocks(PAGES[page]):
            exec(block, data)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("page", sorted(FRAGMENTS))
def test_fragments_run_with_what_they_take_for_granted(page, data):
    inputs = keras.Input((64,))
    outputs = keras.layers.Dense(10, activation="softmax")(inputs)
    data |= {
        "inputs": inputs,
        "outputs": outputs,
        "network": keras.Model(inputs, outputs),
        "keras_sam": importlib.import_module("keras_sam"),
    }
    assert blocks(PAGES[page])
    for block in blocks(PAGES[page]):
        exec(block, data)


def is_method(value):
    return (
        inspect.isclass(value)
        and issubclass(value, methods.Method)
        and value is not methods.Method
    )


def public_names():
    """Return the names that users import, with those of their modules."""
    source = (DOCS / "_ext" / "public_names.py").read_text()
    modules = re.search(r"MODULES = \((.*?)\)", source, re.DOTALL)[1]
    names = set()
    for module in re.findall(r'"(\S+)"', modules):
        for name in importlib.import_module(module).__all__:
            if f"{module}.{name}" not in sys.modules:
                names.add(f"{module}.{name}")
    return names


def documented():
    """Return the names that the pages give to autodoc."""
    names, module = set(), ""
    for text in PAGES.values():
        for line in text.splitlines():
            if found := re.match(r".. (?:py:)?currentmodule:: (\S+)", line):
                module = found[1]
            elif found := re.match(
                r"(?:   |.. autoclass:: |.. py:data:: )(\w+)$", line
            ):
                names.add(f"{module}.{found[1]}")
    return names


def test_every_public_name_has_a_page():
    assert "keras_sam.SAMModel" in public_names()
    assert public_names() - documented() == set()


@pytest.mark.parametrize(
    "method",
    [
        getattr(methods, name)
        for name in methods.__all__
        if is_method(getattr(methods, name))
    ],
)
def test_every_method_has_a_page_with_its_formula(method):
    pages = [
        t for t in PAGES.values() if f"autoclass:: {method.__name__}\n" in t
    ]
    [page] = pages
    assert re.search(r"\$\$\n.*e = .*\n\$\$", page)
    [name] = re.findall(r'`method="(\w+)"`', page)
    assert type(methods.get(name)) is method


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" not in link and "generated" not in link:
            assert ((DOCS / page).parent / link.split("#")[0]).exists(), link


def test_results_are_on_pages_and_generated():
    """Nothing is included that is not generated, or generated for no page."""
    results = runpy.run_path(str(DOCS / "_ext" / "results.py"))["RESULTS"]
    text = "".join(PAGES.values())
    assert {*re.findall(r"{include} generated/(\S+)\.md", text)} == {*results}


def test_examples_are_shown_as_they_are():
    converted = runpy.run_path(str(DOCS / "_ext" / "docstrings.py"))[
        "converted"
    ]
    prose = ["Of `x` and |w|.", "", "Example:"]
    example = ['>>> print("|e|", "`x`")', "|e| `x`"]
    assert converted([*prose, *example, "", "Of |h|."]) == [
        *("Of ``x`` and \\|w\\|.", "", "", "**Example**", ""),
        *(*example, "", "Of \\|h\\|."),
    ]
