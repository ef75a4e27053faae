"""The example that fine-tunes on CIFAR-10: its arms, table and plot."""

import importlib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("finetune_pretrained")


def test_arms_of_a_task_differ_in_epochs_and_radius_alone(script):
    assert len(script.ARMS) == 6
    for task in script.TASKS:
        plain, *others = [a.settings() for a in script.ARMS if a.task == task]
        differences = [
            {k: v for k, v in other.items() if k != "variant" and v != plain[k]}
            for other in others
        ]
        assert differences == [{"budget": 2}, {"sam": {"rho": script.RADIUS}}]


def test_tasks_differ_in_their_labels_alone(script):
    clean, wrong = (script.ARMS[k].settings() for k in (0, 3))
    changed = {k for k, v in clean.items() if v != wrong[k]}
    assert changed == {"task", "label_noise", "watched"}
    assert (clean["label_noise"], wrong["label_noise"]) == (0, 0.2)


def test_gains_are_paired_by_seed(script, tmp_path, capsys):
    groups = {
        f"finetune-clean/{variant}": [
            {"seed": seed, "error": error} for seed, error in enumerate(errors)
        ]
        for variant, errors in (("SGD", (20, 10, 12)), ("SAM", (19, 9)))
    }
    script.report(groups)
    printed = capsys.readouterr().out
    assert "| 0%           | SGD | 3     | 86.0 (80.0 to 90.0)" in printed
    assert "| SAM | 2     | 86.0 (81.0 to 91.0)    | +1.0 ± 0.0" in printed
    assert "20%" not in printed
    script.draw(groups, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_backbone_is_named_before_images_are_read(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--images", "none", "--backbone", "none.keras"])
    message = "make none.keras by efficientnet_lite.py"
    assert message in capsys.readouterr().err


def test_radii_are_compared_on_training_images_that_are_held_out(script):
    for experiment in script.RADII:
        plain = script.ARMS[0 if experiment.label_noise == 0 else 3]
        changed = {
            name
            for name, value in experiment.settings().items()
            if value != plain.settings()[name]
        }
        assert changed - {"sam"} == {"task", "variant", "held_out"}
    assert script.RADIUS in {e.sam["rho"] for e in script.RADII}
