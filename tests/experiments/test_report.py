"""The report has the results of the records beside the paper's numbers."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_sam.experiments import EXPERIMENTS
from keras_sam.experiments import report
from keras_sam.experiments.__main__ import main


@pytest.fixture
def figures(monkeypatch):
    """Return the list of the figures that were saved."""
    found = []
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *_, **__: found.append(self)
    )
    return found


@pytest.fixture
def file(tmp_path):
    """Return a file with records of two runs of each of four experiments."""
    lines = []
    for noise in (20, 80):
        for variant in ("mixup", "bootstrap"):
            experiment = EXPERIMENTS[f"label-noise-{noise}/{variant}"]
            for seed in (0, 1):
                record = {
                    "name": experiment.name,
                    "paper_error": experiment.paper_error,
                    "seed": seed,
                    "error": noise + 2.0 * seed,
                    "num_train": 1000,
                    "num_weights": 2000,
                    "settings": experiment.settings(),
                }
                lines.append(json.dumps(record) + "\n")
    path = tmp_path / "records.jsonl"
    path.write_text("".join(lines))
    return path


def points(axis, label):
    """Return the positions of the points with a label."""
    [line] = [one for one in axis.lines if one.get_label() == label]
    return line.get_xydata().tolist()


def test_mean_and_deviation_are_those_of_numpy():
    values = [1.0, 2.0, 4.0]
    expected = f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
    assert report.summary(values) == f"{expected} (1.00 to 4.00)"
    assert report.summary([2.0]) == "2.00"


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("6.6", 6.6), ("2.1±<0.1", 2.1), ("22.9(6.62)", 22.9), ("12", 12.0)],
)
def test_number_is_read_from_the_error_in_the_paper(printed, expected):
    assert report.paper_error(printed) == expected


def test_every_number_of_the_paper_can_be_drawn():
    for experiment in EXPERIMENTS.values():
        is_number = math.isfinite(report.paper_error(experiment.paper_error))
        assert is_number == bool(experiment.paper_error)


def test_table_has_a_row_for_each_setting_and_all_seeds_in_it(file, tmp_path):
    text = report.write([file], tmp_path)
    rows = [re.split(r" *\| *", row) for row in text.splitlines()[2:]]
    assert len(rows) == 4
    assert rows[0][5:-1] == ["21.00 ± 1.41 (20.00 to 22.00)", "2", "7.0"]
    assert rows[1][6:-1] == ["2", "-"]
    assert (tmp_path / "report.md").read_text() == text + "\n"


def test_rows_have_the_papers_number_where_there_is_one(
    file, tmp_path, figures
):
    report.write([file], tmp_path)
    [axis] = figures[0].axes
    paper = points(axis, "the paper's")
    assert paper[0] == [7.0, 0]
    assert paper[2] == [29.8, 2]
    assert math.isnan(paper[1][0])
    [obtained] = axis.containers
    assert obtained.lines[0].get_xydata().tolist() == [
        [21, 0], [21, 1], [81, 2], [81, 3],
    ]  # fmt: skip
    [segments] = obtained.lines[2][0].get_segments()[:1]
    assert segments.tolist() == [[20, 0], [22, 0]]
    shown = {text.get_text() for text in axis.get_legend().get_texts()}
    assert shown == {"obtained", "the paper's"}


def test_arguments_of_the_model_can_be_drawn_over_and_by(tmp_path, figures):
    lines = []
    for parts in ({}, {"num_microbatches": 4}):
        for rho in (0.2, 0.1):
            experiment = dataclasses.replace(
                EXPERIMENTS["m-sharpness/sgd"], sam={"rho": rho, **parts}
            )
            record = {
                "name": experiment.name,
                "paper_error": "",
                "seed": 0,
                "error": 100 * rho + len(parts),
                "num_train": 1000,
                "num_weights": 2000,
                "settings": experiment.settings(),
            }
            lines.append(json.dumps(record) + "\n")
    path = tmp_path / "records.jsonl"
    path.write_text("".join(lines))
    report.write([path], tmp_path, x="rho", by="num_microbatches")
    [axis] = figures[0].axes
    drawn = {
        container.get_label(): container.lines[0].get_xydata().tolist()
        for container in axis.containers
    }
    assert drawn == {
        "1": [[0.1, 10], [0.2, 20]],
        "4": [[0.1, 11], [0.2, 21]],
    }


def test_only_records_with_the_newest_settings_of_a_name_count(file):
    lines = file.read_text().splitlines()
    found = [json.loads(line) for line in lines]
    old = [{**r, "settings": {**r["settings"], "depth": 1}} for r in found[:2]]
    groups = report.by_name([*old, *found])
    assert groups[found[0]["name"]] == found[:2]
    assert len(groups) == 4


def test_lines_have_the_papers_numbers_in_their_color(file, tmp_path, figures):
    report.write([file], tmp_path, x="label_noise", by="variant")
    [axis] = figures[0].axes
    assert points(axis, "mixup, the paper's") == [[0.2, 7.0], [0.8, 29.8]]
    [paper] = [
        line for line in axis.lines if line.get_label() == "mixup, the paper's"
    ]
    [mixup] = [c for c in axis.containers if c.get_label() == "mixup"]
    assert mixup.lines[0].get_xydata().tolist() == [[0.2, 21], [0.8, 81]]
    assert paper.get_color() == mixup.lines[0].get_color()
    shown = {text.get_text() for text in axis.get_legend().get_texts()}
    assert shown == {"mixup", "mixup, the paper's", "bootstrap"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "{}/none.jsonl"], "There are no records in: .*none.jsonl"),
        (["report", "{}/records.jsonl", "--x", "nose"], "`x` and `by` must be"),
    ],
)
def test_report_without_records_is_an_error_without_a_traceback(
    arguments, message, file, tmp_path, capsys
):
    with pytest.raises(SystemExit) as raised:
        main([argument.format(tmp_path) for argument in arguments])
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error
