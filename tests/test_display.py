"""What results show in a notebook, draw and save."""

import base64
import math
import sys
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot

import keras_sam
from keras_sam import sharpness

VERIFICATION = keras_sam.Verification(
    rho=0.1,
    loss=2.0,
    perturbed_loss=2.5,
    perturbation_norm=0.1,
    relative_sizes={"dense/kernel": 0.25, "dense/bias<&>": math.inf},
    angle=math.nan,
    num_perturbed=3,
    num_weights=4,
    guessed_roles={"dense/kernel": "kernel"},
)
SUGGESTION = keras_sam.RhoSuggestion(
    method="SAM",
    loss=2.0,
    rhos=(0.05, 0.1),
    rises=(0.03, 0.12),
    relative_sizes=(0.1, 0.2),
    rho=0.05,
    reason="Start here.",
)
EIGENVALUES = sharpness.HessianEigenvalues(
    eigenvalues=np.array([5.0, 3.0]),
    residuals=np.array([0.5, 0.25]),
    converged=np.array([True, False]),
    num_products=9,
    gauss_newton=True,
    num_examples=20,
    num_weights=4,
    training=False,
    loss=2.0,
)
LINE = sharpness.LossLine(
    positions=np.linspace(-1, 1, 51),
    losses=np.linspace(0, 1, 51),
    direction="random",
    length=2.0,
    num_examples=20,
    num_weights=4,
    training=False,
    loss=0.5,
)
RESULTS = [VERIFICATION, SUGGESTION, EIGENVALUES, LINE]


@pytest.fixture(autouse=True)
def _no_window():
    mpl.use("agg")
    pyplot.close("all")  # What other tests have left.
    yield
    pyplot.close("all")


class Page(HTMLParser):
    """The cells of the rows of tables, and the sources of pictures."""

    def __init__(self, result):
        super().__init__()
        self.rows, self.pictures, self.open = [], [], []
        self.feed(result._repr_html_())
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        assert self.open[-1] in ("td", "th")
        self.rows[-1][-1] += data


@pytest.mark.parametrize("result", RESULTS, ids=lambda r: type(r).__name__)
def test_a_notebook_shows_tables_and_a_picture(result):
    page = Page(result)
    assert ["loss", f"{result.loss:.4g}"] in page.rows
    [source] = page.pictures
    _, data = source.split("data:image/png;base64,")
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not pyplot.get_fignums()


def test_names_and_values_of_a_dictionary_are_rows():
    rows = Page(VERIFICATION).rows
    assert ["", "relative sizes"] in rows
    assert ["dense/kernel", "0.25"] in rows
    assert ["dense/bias<&>", "inf"] in rows
    assert ["dense/kernel", "kernel"] in rows


def test_lists_of_one_length_are_columns():
    rows = Page(SUGGESTION).rows
    start = rows.index(["rhos", "rises", "relative sizes"])
    assert rows[start + 1 :] == [
        ["0.05", "0.03", "0.1"],
        ["0.1", "0.12", "0.2"],
    ]
    assert ["5", "0.5", "True"] in Page(EIGENVALUES).rows


def test_long_lists_are_left_to_the_picture():
    assert len(Page(LINE).rows) == 6


def test_tables_need_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = Page(SUGGESTION)
    assert page.rows
    assert not page.pictures


@pytest.mark.parametrize("result", RESULTS, ids=lambda r: type(r).__name__)
def test_a_saved_result_is_read_as_it_was(result, tmp_path):
    result.save(tmp_path / "result.json")
    loaded = sharpness.load(tmp_path / "result.json")
    assert type(loaded) is type(result)
    for name, value in vars(result).items():
        np.testing.assert_equal(getattr(loaded, name), value)


@pytest.mark.parametrize(
    ("result", "field", "value", "bad"),
    [
        (SUGGESTION, "rises", "[0.03, 0.12]", '[0.03, "a"]'),
        (VERIFICATION, "guessed_roles", '{"dense/kernel": "kernel"}', "[1]"),
        (VERIFICATION, "relative_sizes", "0.25", "true"),
    ],
)
def test_a_saved_part_of_another_type_is_refused(
    result, field, value, bad, tmp_path
):
    path = tmp_path / "result.json"
    result.save(path)
    text = path.read_text()
    assert value in text
    path.write_text(text.replace(value, bad, 1))
    with pytest.raises(ValueError, match=f"`{field}` must be"):
        sharpness.load(path)


def test_the_picture_of_a_verification_has_a_bar_for_each_variable():
    axis = VERIFICATION.plot()
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == list(VERIFICATION.relative_sizes)
    finite, endless = axis.patches
    assert finite.get_width() == 0.25
    assert endless.get_width() == axis.get_xlim()[1]
    assert axis.get_title() == "rho 0.1: loss 2+0.5"


def test_the_picture_of_a_suggestion_is_the_ladder():
    [curve, *_] = SUGGESTION.plot().lines
    np.testing.assert_allclose(curve.get_xdata(), SUGGESTION.rhos)
    np.testing.assert_allclose(curve.get_ydata(), [3.0, 12.0])
