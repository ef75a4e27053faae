"""The records in the repository belong to the present experiments."""

import importlib
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from keras_sam.experiments import EXPERIMENTS
from keras_sam.experiments import records
from keras_sam.experiments.run import learning_rate

EXAMPLES = Path(__file__).parents[2] / "examples"
IN_ONE_ORDER = {"order": "the same in all epochs"}


def read(name):
    return records.read(EXAMPLES / "records" / f"{name}.jsonl")


def plain(experiment):
    return json.loads(json.dumps(experiment.settings()))


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports an example."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.mark.parametrize(
    ("name", "number"), [("label_noise", 60), ("m_sharpness", 105)]
)
def test_recorded_command_has_the_recorded_settings(name, number):
    found = read(name)
    assert len(found) == number
    for record in found:
        words = shlex.split(record["command"])
        start = words.index("--set") + 1
        assignments = [word for word in words[start:] if "=" in word]
        experiment = EXPERIMENTS[record["name"]].with_settings(assignments)
        assert record["seed"] in experiment.seeds
        assert record["settings"] == plain(experiment)


def test_records_of_wrong_labels_are_those_of_its_arms(script):
    arms = {arm.name: arm for arm in script("wrong_labels").ARMS}
    assert read("wrong_labels")
    for record in read("wrong_labels"):
        arm = arms[record["name"]].with_settings(["source=strips"])
        assert record["settings"] == plain(arm)
        assert record["seed"] in arm.seeds


def test_records_of_the_frontier_are_those_of_its_entries(script):
    entries = {e.name: e for e in script("frontier").EXPERIMENTS}
    found = read("frontier")
    on_digits = [e for e in entries.values() if e.source == "digits"]
    assert len(found) == len(on_digits) * 3
    for record in found:
        entry = entries[record["name"]]
        assert record["settings"] == plain(entry)
        # It would not be trained again.
        assert record["seed"] in records.finished(found, entry)


def test_records_of_figure_3_are_those_of_its_settings(script):
    figure_3 = script("figure_3")
    found = read("figure_3")
    assert len(found) == 118
    for record in found:
        task, variant = record["name"].split("/")
        name = task.removeprefix("figure-3-")
        settings = figure_3.SETTINGS[name]
        entry = figure_3.experiment(name, variant, **settings)
        expected = plain(entry.with_settings(["source=strips"]))
        assert record["settings"] == expected | IN_ONE_ORDER
        epochs = [str(epoch) for epoch in entry.spectrum]
        assert list(record["eigenvalues"]) == epochs


def test_late_sam_starts_where_the_rate_begins_to_fall(script):
    [late] = [
        a for a in script("wrong_labels").ARMS if a.variant == "SAM, late"
    ]
    num_steps = late.epochs * -(-50_000 // late.batch_size)
    rate = learning_rate(late, num_steps)
    assert late.sam["rho"].start == rate.decay_start == 4106


def test_a_record_from_before_a_setting_has_its_default(tmp_path):
    file = tmp_path / "records.jsonl"
    [written, *_] = (EXAMPLES / "records" / "frontier.jsonl").open()
    settings = json.loads(written)["settings"]
    assert "stable" not in settings
    file.write_text(written)
    [record] = records.read(file)
    expected = {"stable": 0.0, "ema": 0.0, "held_out": 0, "watched": 0}
    expected |= {"imbalance": 1.0, "redrawn": False}
    assert record["settings"] == settings | expected


def test_recorded_eigenvalues_are_at_the_predicted_edge(script):
    edge = script("edge_of_stability")
    file = EXAMPLES / "records" / "edge_of_stability.json"
    record = json.loads(file.read_text())
    assert record["eta"] == edge.ETA
    assert [float(rho) for rho in record["curves"]] == list(edge.RADII)
    for rho, curve in record["curves"].items():
        _, values, norms = np.array(curve[len(curve) // 2 :]).T
        expected = edge.predicted(float(rho), norms).mean()
        # The promise of the example.
        assert values.mean() == pytest.approx(expected, rel=0.1)
        assert float(rho) == 0 or values.mean() < 0.75 * 2 / edge.ETA


@pytest.mark.parametrize("rho", [0, 0.02, 0.1])
def test_at_the_predicted_edge_a_step_on_a_parabola_oscillates(rho, script):
    edge = script("edge_of_stability")
    norm = np.array([0.3])
    [curvature] = edge.predicted(rho, norm)
    [x] = norm / curvature
    step = edge.ETA * curvature * (x + rho)
    # A few operations in float64.
    assert x - step == pytest.approx(-x, rel=1e-12)


def printed_rows(script, capsys, tmp_path, name, *arguments):
    """Return the cells of each line that a report prints."""
    output = ["--output", str(tmp_path / f"{name}.png")]
    script(name).main([*arguments, "--report", *output])
    return [cells(line) for line in capsys.readouterr().out.splitlines()]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_frontier_prints_the_figures_of_the_readme(script, capsys, tmp_path):
    printed = printed_rows(script, capsys, tmp_path, "frontier")
    readme = (EXAMPLES.parent / "README.md").read_text()
    section = readme.split("\n## Which method\n")[1].split("\n## ")[0]
    table = [cells(line) for line in section.splitlines() if line[:1] == "|"]
    costs = [float(cost) for _, cost, _, _ in table[2:]]
    assert costs == sorted(costs)
    assert costs
    figures = {(row[1], row[3]) for row in printed if len(row) == 4}
    assert {(cost, digits) for _, cost, _, digits in table[2:]} <= figures


def test_reports_print_what_the_records_hold(script, capsys, tmp_path):
    frontier = printed_rows(script, capsys, tmp_path, "frontier")
    seeds = ["--seeds", *map(str, range(15, 55))]
    figure_3 = printed_rows(script, capsys, tmp_path, "figure_3", *seeds)
    for line in (
        ["SGD", "0.98", "-", "91.6 (88.0 to 93.8)"],
        ["LookSAM, rho 0.1", "1.17", "-", "59.0 (47.3 to 77.6)"],
    ):
        assert line in frontier
    for line in (
        ["SGD", "30", "36.9 (24.2 to 59.2)", "2.28 (1.33 to 3.74)"],
        ["SAM", "150", "0.0588 (0.0349 to 0.0874)", "1.81 (1.41 to 2.51)"],
    ):
        assert line in figure_3
