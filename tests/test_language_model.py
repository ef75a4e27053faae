"""The example of language models: its records and table."""

import importlib
import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("language_model")


def record(name, loss, num_epochs, seed=0):
    losses = num_epochs * [loss]
    return {
        "name": name,
        "seed": seed,
        "loss": losses,
        "validation_loss": losses,
    }


def test_a_run_of_a_few_steps_does_not_count_as_a_whole_one(script, tmp_path):
    runs = [record("AdamW", 3.0, 2), record("AdamW", 1.5, script.EPOCHS)]
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(run) + "\n" for run in runs))
    assert script.read(file, is_smoke=True) == runs[:1]
    assert script.read(file, is_smoke=False) == runs[1:]


def test_the_table_needs_no_run_of_adamw(script, capsys):
    name = "SAM, rho 0.1"
    runs = {name: [record(name, 1.5, script.EPOCHS)]}
    script.report(runs)
    assert capsys.readouterr().out.rstrip().endswith("| -                  |")
    script.report({"AdamW": [record("AdamW", 1.25, script.EPOCHS)], **runs})
    assert "| +0.250             |" in capsys.readouterr().out
