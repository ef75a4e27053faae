"""The runner: settings, records, and going on after a kill."""

import importlib.util
import json

import keras
import numpy as np
import pytest

from keras_sam import data
from keras_sam.experiments import EXPERIMENTS
from keras_sam.experiments import logs
from keras_sam.experiments import records
from keras_sam.experiments import run
from keras_sam.experiments.__main__ import main
from keras_sam.experiments.mixing import MixedBatches
from keras_sam.experiments.mixing import bootstrapped_labels

DIGITS = ("source=digits", "augmentation=small_crop", "batch_size=4")


def tiny(name, *settings):
    """Return a named experiment on a few digits."""
    return EXPERIMENTS[name].smoke().with_settings([*DIGITS, *settings])


def test_every_row_of_the_papers_tables_is_there_with_its_number():
    rows = {}
    for experiment in EXPERIMENTS.values():
        rows.setdefault(experiment.table, set()).add(experiment.row)
    numbers = {table: len(names) for table, names in rows.items()}
    # Label noise: four rows of the paper and one without noise.
    assert numbers == {
        "1": 30, "2": 9, "3": 18, "4": 5, "5": 8, "figure 4": 1,
    }  # fmt: skip
    assert EXPERIMENTS["label-noise-60/sam"].paper_error == "9.5"
    assert EXPERIMENTS["label-noise-60/sgd"].paper_error == "51.8"
    name = "cifar100-auto_augment-shake-drop/sam"
    assert EXPERIMENTS[name].paper_error == "10.3±.1"
    assert EXPERIMENTS[name].rho == 0.05


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("rhoo=1", r"no setting `rhoo`\. It has row, .*rho"),
        ("rho=big", "`rho` must be a number.*'rho=big'"),
        ("epochs=1.5", "`epochs` must be an integer"),
        ("epochs=0", "`epochs` must be finite and at least 1"),
        ("bootstrap=maybe", "`bootstrap` must be `true` or `false`"),
        ("network=vgg", "`network` must be one of .*\"wide_resnet\".*'vgg'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(assignment, message):
    with pytest.raises(ValueError, match=message):
        tiny("label-noise-40/sam", assignment)


def test_settings_are_read_by_their_types():
    experiment = EXPERIMENTS["label-noise-40/sam"].with_settings([
        "seeds=3,5",
        "nesterov=false",
        "bootstrap=True",
        "rho=0.2",
        "epochs=7",
        "folder=a=b",
    ])
    assert experiment.seeds == (3, 5)
    assert experiment.nesterov is False
    assert experiment.bootstrap is True
    assert experiment.rho == 0.2
    assert experiment.epochs == 7
    assert experiment.folder == "a=b"


def test_records_count_for_the_same_settings_only():
    experiment = EXPERIMENTS["label-noise-40/sam"]
    settings = json.loads(json.dumps(experiment.settings()))
    found = [
        {"seed": 1, "settings": settings},
        {"seed": 2, "settings": {**settings, "rho": 0.2}},
        {"seed": 3, "settings": settings},
    ]
    elsewhere = experiment.with_settings(["folder=there", "workers=8"])
    assert records.finished(found, experiment) == {1, 3}
    assert records.finished(found, elsewhere) == {1, 3}
    other = experiment.with_settings(["rho=0.2"])
    assert records.finished(found, other) == {2}
    names = {records.digest(e, s) for e in (experiment, other) for s in (1, 2)}
    assert len(names) == 4
    assert records.digest(elsewhere, 1) in names


def test_command_line_names_what_is_wrong(capsys):
    with pytest.raises(SystemExit):
        main(["label-noise-40/sam", "--set", "rhoo=1"])
    assert "no setting `rhoo`" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "no such experiment" in capsys.readouterr().err


def test_list_has_the_papers_number(capsys):
    main(["list", "label-noise-80"])
    assert "label-noise-80/sam" in capsys.readouterr().out


def test_a_run_leaves_a_record_and_is_not_repeated(tmp_path, capsys):
    line = ["label-noise-40/sam", "--smoke", "--folder", str(tmp_path)]
    main([*line, "--set", *DIGITS])
    main([*line, "--set", *DIGITS])
    # What was only tried is apart from results.
    assert [path.name for path in tmp_path.iterdir()] == ["smoke"]
    [record] = records.read(tmp_path / "smoke" / "records.jsonl")
    assert record["seed"] == 0
    assert record["paper_error"] == "6.6"
    # Three of eight, the whole number next to 40 %.
    assert record["wrong_labels"] == 37.5
    assert record["command"].startswith("python -m keras_sam.experiments")
    assert not list(tmp_path.rglob("*.h5"))
    packages = ("tensorflow", "tensorboard")
    is_installed = all(map(importlib.util.find_spec, packages))
    assert bool(list(tmp_path.rglob("events.out.*"))) == is_installed
    main(["report", "--smoke", "--folder", str(tmp_path)])
    assert "| 6.6 |" in capsys.readouterr().out
    assert (
        (tmp_path / "smoke" / "report.png").read_bytes().startswith(b"\x89PNG")
    )


class Killed(Exception):
    """What stops a run in a test."""


def test_a_killed_run_ends_as_one_that_was_not(tmp_path, monkeypatch):
    experiment = tiny("label-noise-40/sam", "epochs=3")
    [whole] = run(experiment, tmp_path / "whole", verbose=0)

    class Kill(logs.Checkpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 1:
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(logs, "Checkpoint", Kill)
        with pytest.raises(Killed):
            run(experiment, tmp_path / "killed", verbose=0)
    # A mark on the lines of the epochs that are not to be done again.
    place = next((tmp_path / "killed").rglob("epochs.jsonl"))
    entries = [{**json.loads(line), "kept": 1} for line in place.open()]
    place.write_text("".join(json.dumps(e) + "\n" for e in entries))
    [resumed] = run(experiment, tmp_path / "killed", verbose=0)
    entries = [json.loads(line) for line in place.open()]
    assert [e["epoch"] for e in entries] == [1, 2, 3]
    assert ["kept" in e for e in entries] == [True, True, False]
    # The same sums on the same machine; a step later they would differ by 1e-2.
    assert resumed["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_results_do_not_depend_on_the_number_of_workers(tmp_path):
    experiment = tiny("label-noise-40/sam", "epochs=2")
    [one] = run(experiment, tmp_path / "one", verbose=0)
    several = experiment.with_settings(["workers=2"])
    [two] = run(several, tmp_path / "two", verbose=0)
    assert one["loss"] == two["loss"]


def test_bootstrap_trains_on_what_the_first_network_predicts(tmp_path):
    experiment = tiny("label-noise-40/bootstrap-sam")
    run(experiment, tmp_path, verbose=0)
    assert len(list(tmp_path.rglob("epochs.jsonl"))) == 2
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (5, 4, 4, 1), dtype="uint8")
    inputs = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(flat))
    statistics = data.channel_statistics(images)
    kernel, bias = model.get_weights()
    x = (images.reshape(5, -1).astype("float64") - statistics[0]) / statistics[
        1
    ]
    found = bootstrapped_labels(model, images, statistics, 2)
    np.testing.assert_array_equal(found, (x @ kernel + bias).argmax(-1))


def test_mixed_examples_lie_between_pairs_with_the_labels_mixed_alike():
    images = np.arange(6, dtype="uint8").reshape(6, 1, 1, 1) * 40
    labels = np.eye(6, dtype="float32")
    batches = MixedBatches(
        images,
        labels,
        1.0,
        3,
        batch_size=6,
        statistics=(np.zeros(1, "float32"), np.ones(1, "float32")),
    )
    x, y = batches[0]
    # Labels are linear in images: each mixture names its own weights.
    np.testing.assert_allclose(
        x.reshape(6), y.astype("float64") @ images.reshape(6), rtol=1e-5
    )
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-6)
    assert ((y > 0).sum(-1) <= 2).all()
    assert (y.max(-1) < 1).any()
    np.testing.assert_array_equal(batches[0][0], x)
