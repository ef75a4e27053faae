"""The runner: settings, records, and resuming after a kill."""

import dataclasses
import importlib
import importlib.util
import json
import math
import sys

import keras
import numpy as np
import pytest

from keras_sam import data
from keras_sam import methods
from keras_sam import schedules
from keras_sam.experiments import EXPERIMENTS
from keras_sam.experiments import Experiment
from keras_sam.experiments import logs
from keras_sam.experiments import recipe
from keras_sam.experiments import records
from keras_sam.experiments import run
from keras_sam.experiments import sources
from keras_sam.experiments import tables
from keras_sam.experiments.__main__ import main
from keras_sam.experiments.label_log import LabelLog
from keras_sam.experiments.mixing import MixedBatches
from keras_sam.experiments.mixing import bootstrapped_labels
from keras_sam.experiments.run import compiled
from keras_sam.settings import Settings

DIGITS = ("source=digits", "augmentation=small_crop", "batch_size=4")


FOREIGN = (
    "data_parallel" if keras.backend.backend() == "tensorflow" else "mirrored"
)
"""A strategy that this backend lacks."""


def tiny(name, *settings):
    """Return a named experiment on a few digits."""
    return EXPERIMENTS[name].smoke().with_settings([*DIGITS, *settings])


def test_every_row_of_the_papers_tables_is_there_with_its_number():
    tasks = {}
    for experiment in EXPERIMENTS.values():
        tasks.setdefault(experiment.table, set()).add(experiment.task)
    numbers = {table: len(names) for table, names in tasks.items()}
    # Label noise: four rows of the paper and one without noise.
    assert numbers == {
        "1": 30, "2": 9, "3": 18, "4": 5, "5": 8, "figure 4": 1,
    }  # fmt: skip
    assert EXPERIMENTS["label-noise-60/sam"].paper_error == "9.5"
    assert EXPERIMENTS["label-noise-60/sgd"].paper_error == "51.8"
    name = "cifar100-auto_augment-shake-drop/sam"
    assert EXPERIMENTS[name].paper_error == "10.3±.1"
    # On eight devices.
    assert EXPERIMENTS[name].sam == {"rho": 0.05, "num_microbatches": 8}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("rhoo=1", r"no setting `rhoo`\. It has task, .*, method, rho"),
        ("sam={}", r"no setting `sam`"),
        ("rho=big", "`rho` must be a.* number.*rho='big'"),
        ("method=samm", "`method` must be .*'samm'"),
        ("num_microbatches=0", "`num_microbatches` must be an integer >= 1"),
        ("mixup=big", "`mixup` must be a number.*'mixup=big'"),
        ("mixup=true", "`mixup` must be a number.*'mixup=true'"),
        ("spectrum=1,201", "`spectrum` must be epochs from 1 to 1"),
        ("seeds=1,b", "`seeds` must be integers with commas.*'seeds=1,b'"),
        ("seeds=1.5,2", "`seeds` must be integers with commas"),
        ("epochs=1.5", "`epochs` must be an integer"),
        ("epochs=0", "`epochs` must be an integer >= 1"),
        ("bootstrap=maybe", "`bootstrap` must be `true` or `false`"),
        ("momentum=5", r"`momentum` must be a number in \[0, 1\].*=5"),
        ("label_noise=nan", r"`label_noise` must be a number in \[0, 1\]"),
        ("label_smoothing=-1", "`label_smoothing` must be a number in"),
        ("learning_rate=inf", r"`learning_rate` must be .* \[0, inf\)"),
        ("stable=1", r"`stable` must be a number in \[0, 1\)"),
        ("ema=1", r"`ema` must be a number in \[0, 1\)"),
        ("seeds=-1", "`seeds` must be integers from 0 .*seeds=\\(-1,\\)"),
        ("seeds=4294967296", "`seeds` must be integers from 0 to"),
        ("depth=-1", "`depth` must be an integer >= 0"),
        ("epochs=1e20", "`epochs` must be an integer"),
        ("network=vgg", "`network` must be one of .*\"wide_resnet\".*'vgg'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(assignment, message):
    with pytest.raises(ValueError, match=message):
        tiny("label-noise-40/sam", assignment)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["depth=9"], "`depth` of a CIFARResNet must be 2 plus.*depth=9"),
        (["network=shake_shake", "width=3"], "`width` must be even"),
        (["network=cnn", "depth=8", "width=0"], "`cnn` has one size only"),
        (["network=ResNet50", "depth=8"], "`ResNet50` has one size only"),
        (["strategy=elsewhere"], '`strategy` must be one of "none"'),
        ([f"strategy={FOREIGN}"], f"`strategy` must be .*'{FOREIGN}' on"),
        (["network=resnet50"], "`network` must be one of"),
        (["method=gsam", "rho=nan"], "`rho` must be a number"),
    ],
)
def test_a_wrong_setting_is_refused_before_data_are_loaded(
    settings, message, tmp_path, monkeypatch
):
    monkeypatch.setattr(sources, "load", None)
    with pytest.raises(ValueError, match=message):
        run(tiny("label-noise-40/sam", *settings), tmp_path)


def test_settings_are_read_by_their_types():
    experiment = EXPERIMENTS["label-noise-40/sam"].with_settings([
        "seeds=3,5",
        "nesterov=false",
        "bootstrap=True",
        "rho=0.2",
        "epochs=7",
        "mixup=1",
        "folder=a=b",
        "dataset=1",
        "num_microbatches=4",
        "method=asam",
    ])
    assert experiment.seeds == (3, 5)
    assert experiment.nesterov is False
    assert experiment.bootstrap is True
    assert experiment.sam == {
        "rho": 0.2,
        "num_microbatches": 4,
        "method": "asam",
    }
    assert type(experiment.mixup) is float
    assert experiment.dataset == "1"
    assert experiment.with_settings(["seeds=7"]).seeds == (7,)
    assert experiment.epochs == 7
    assert experiment.folder == "a=b"


def test_an_unknown_argument_of_the_model_is_refused_by_name():
    with pytest.raises(ValueError, match=r'`sam` .*"method", "rho".*rhoo'):
        Experiment(task="a", variant="b", sam={"rhoo": 1})


def test_settings_hold_methods_and_schedules_as_json():
    settings = Experiment(
        task="a",
        variant="b",
        sam={
            "method": methods.GSAM(alpha=0.3),
            "rho": schedules.Periodic(2, 0.1),
        },
    ).settings()
    again = json.loads(json.dumps(settings))
    assert again == settings
    same = Experiment(task="a", variant="b", sam=again["sam"])
    assert same.settings() == settings
    assert Settings(**same.sam).method == methods.GSAM(alpha=0.3)


def test_records_count_for_the_same_settings_only():
    experiment = EXPERIMENTS["label-noise-40/sam"]
    settings = json.loads(json.dumps(experiment.settings()))
    found = [
        {"seed": 1, "settings": settings},
        {"seed": 2, "settings": {**settings, "sam": {"rho": 0.2}}},
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


def test_command_line_names_the_invalid_word(capsys):
    with pytest.raises(SystemExit):
        main(["label-noise-40/sam", "--set", "rhoo=1"])
    assert "no setting `rhoo`" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "no such experiment" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["show"])
    assert "`show` needs a name" in capsys.readouterr().err


def test_list_has_the_papers_number(capsys):
    main(["list", "label-noise-80"])
    assert "label-noise-80/sam" in capsys.readouterr().out


def test_a_run_leaves_a_record_and_is_not_repeated(tmp_path, capsys):
    line = ["label-noise-40/sam", "--smoke", "--folder", str(tmp_path)]
    main([*line, "--set", *DIGITS])
    main([*line, "--set", *DIGITS])
    # Smoke runs are kept apart from results.
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
    assert "| 6.6 " in capsys.readouterr().out
    assert (
        (tmp_path / "smoke" / "report.png").read_bytes().startswith(b"\x89PNG")
    )


class Killed(Exception):
    """Stops a run in a test."""


@pytest.mark.parametrize("num_saved", [1, 2])
def test_a_killed_run_ends_as_one_that_was_not(
    num_saved, tmp_path, monkeypatch
):
    experiment = tiny("label-noise-40/sam", "epochs=3")
    [whole] = run(experiment, tmp_path / "whole", verbose=0)

    class Kill(logs.Checkpoint):
        def on_epoch_end(self, epoch, logs=None):
            if epoch < num_saved:
                super().on_epoch_end(epoch, logs)
            if epoch == 1:
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(logs, "Checkpoint", Kill)
        with pytest.raises(Killed):
            run(experiment, tmp_path / "killed", verbose=0)
    # Marks the rows of the epochs that are not to be repeated.
    log = next((tmp_path / "killed").rglob("epochs.csv"))
    header, *rows = log.read_text().splitlines()
    marked = [row.replace("NA", "nan") for row in rows]
    log.write_text("\n".join([header, *marked]) + "\n")
    [resumed] = run(experiment, tmp_path / "killed", verbose=0)
    rows = log.read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["0", "1", "2"]
    assert ["nan" in row for row in rows] == [k < num_saved for k in range(3)]
    # The same sums on the same machine; a step later they would differ by 1e-2.
    assert resumed["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_spectrum_is_measured_on_request_and_survives_a_kill(
    tmp_path, monkeypatch
):
    experiment = tiny(
        *("label-noise-40/sam", "network=mlp", "depth=1", "width=4"),
        *("epochs=3", "spectrum=1,3"),
    )
    [whole] = run(experiment, tmp_path / "whole", verbose=0)
    assert list(whole["eigenvalues"]) == ["1", "3"]
    first, last = whole["eigenvalues"].values()
    assert len(first) == len(last) == 5
    assert first != last
    assert whole["converged"] is True
    # Over the whole grid: each of its steps is rounded to 1e-4, by some 5 %.
    total = np.trapezoid(whole["density"], whole["grid"])
    assert total == pytest.approx(1, abs=0.05)

    def stop(self, epoch, logs=None):
        keep(self, epoch, logs)
        raise Killed

    keep = logs.Checkpoint.on_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(logs.Checkpoint, "on_epoch_end", stop)
        with pytest.raises(Killed):
            run(experiment, tmp_path / "killed", verbose=0)
    [resumed] = run(experiment, tmp_path / "killed", verbose=0)
    # The same sums on the same machine; an epoch changes them by 1e-2.
    for epoch, values in whole["eigenvalues"].items():
        assert resumed["eigenvalues"][epoch] == pytest.approx(values, rel=1e-4)


def compiled_network(*settings):
    experiment = tiny("label-noise-40/sam", *settings)
    return compiled(experiment, sources.load(experiment), 10)


def test_weight_decay_is_in_the_loss_or_in_the_optimizer():
    in_loss = compiled_network("weight_decay=0.01")
    assert in_loss.losses
    assert in_loss.optimizer.weight_decay is None
    decoupled = compiled_network("weight_decay=0.01", "decoupled=true")
    assert not decoupled.losses
    assert decoupled.optimizer.weight_decay == 0.01
    without = compiled_network("weight_decay=0", "decoupled=true")
    assert not without.losses
    assert without.optimizer.weight_decay is None


def test_learning_rate_decays_or_stays():
    for settings, expected in (([], 0.0), (["cosine_decay=false"], 0.1)):
        optimizer = compiled_network(*settings).optimizer
        optimizer.iterations.assign(10)
        assert float(optimizer.learning_rate) == pytest.approx(expected)


def test_learning_rate_stays_and_falls_linearly_on_request():
    optimizer = compiled_network("stable=0.6", "ema=0.5").optimizer
    found = []
    for step in range(11):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    expected = [*7 * [0.1], 0.075, 0.05, 0.025, 0]
    assert found == pytest.approx(expected, abs=1e-7)


def test_moving_average_of_the_weights_is_tested_on_request(
    tmp_path, monkeypatch
):
    experiment = tiny("label-noise-40/sam", "epochs=2", "ema=0.9")
    tested = []
    evaluate = keras.Model.evaluate

    def recorded(model, *arguments, **options):
        averages = model.optimizer._model_variables_moving_average
        tested.append((model.trainable_variables, averages))
        return evaluate(model, *arguments, **options)

    monkeypatch.setattr(keras.Model, "evaluate", recorded)
    run(experiment, tmp_path, verbose=0)
    [(weights, averages)] = tested
    for weight, average in zip(weights, averages):
        np.testing.assert_array_equal(weight, average)


def test_fractions_of_right_and_wrong_labels_learned_are_recorded(tmp_path):
    experiment = tiny("label-noise-40/sam", "epochs=2")
    [without] = run(experiment, tmp_path / "without", verbose=0)
    watched = experiment.with_settings(["watched=8"])
    [record] = run(watched, tmp_path / "watched", verbose=0)
    assert record["loss"] == without["loss"]
    assert "right_labels_learned" not in without
    # Five of eight are labelled rightly and three wrongly.
    for name, number in (("right", 5), ("wrong", 3)):
        fractions = record[f"{name}_labels_learned"]
        assert len(fractions) == 2
        for fraction in fractions:
            counted = fraction * number / 100
            assert counted == pytest.approx(round(counted), abs=1e-3)


def test_a_sample_has_both_right_and_wrong_labels(tmp_path):
    settings = ("num_train=100", "watched=20", "network=mlp", "depth=1")
    experiment = tiny("label-noise-40/sam", *settings, "width=4")
    [record] = run(experiment, tmp_path, verbose=0)
    for name in ("right", "wrong"):
        [fraction] = record[f"{name}_labels_learned"]
        assert 0 <= fraction <= 100


def test_labels_learned_are_those_that_the_network_predicts():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, inputs)
    log = LabelLog(
        np.eye(3, dtype="float32")[[0, 1, 2, 0, 2]],
        labels=np.array([0, 1, 0, 1, 1]),
        right=np.array([0, 0, 2, 0, 1]),
    )
    log.set_model(model)
    logs = {}
    log.on_epoch_end(0, logs)
    # The first and the last are right, and the first is learned; of the three
    # others the second is.
    assert logs == {
        "right_labels_learned": 50,
        "wrong_labels_learned": pytest.approx(100 / 3),
    }


def test_images_held_out_are_tested_on_and_not_trained_on():
    experiment = tiny("label-noise-40/sam", "num_train=20", "held_out=5")
    whole = sources.load(experiment.with_settings(["held_out=0"]))
    dataset = sources.load(experiment)
    found = [*dataset.train[0], *dataset.test[0]]
    assert [len(dataset.train[1]), len(dataset.test[1])] == [15, 5]
    assert {x.tobytes() for x in found} == {x.tobytes() for x in whole.train[0]}
    with pytest.raises(ValueError, match="Of 20 images some must remain"):
        whole.held_out(20)


@pytest.mark.parametrize("redrawn", [False, True])
def test_seeds_have_other_training_images_on_request(
    redrawn, tmp_path, monkeypatch
):
    trained_on = []

    def metrics(started):
        trained_on.append(started.dataset.train[0].tobytes())
        return {"error": 0.0, "num_train": 20, "num_weights": 1}

    monkeypatch.setattr(
        importlib.import_module("keras_sam.experiments.run").Run,
        "metrics",
        metrics,
    )
    settings = ("num_train=20", f"redrawn={redrawn}", "seeds=0,1,2")
    experiment = tiny("label-noise-40/sgd", *settings)
    run(experiment, tmp_path)
    different = len(set(trained_on))
    assert different == (3 if redrawn else 1)
    expected = [
        sources.load(experiment, seed).train[0].tobytes()
        for seed in experiment.seeds
    ]
    assert trained_on == expected


def test_the_network_may_be_in_a_file(tmp_path):
    inputs = keras.Input((8, 8, 1))
    features = keras.layers.Flatten()(inputs)
    file = tmp_path / "backbone.keras"
    keras.Model(inputs, features).save(file)
    settings = ("width=0", "depth=0", "network=file", f"weights={file}")
    experiment = tiny("label-noise-40/sgd", *settings)
    assert experiment.smoke().weights == str(file)
    [record] = run(experiment, tmp_path, verbose=0)
    assert record["num_weights"] == 64 * 10 + 10


@pytest.mark.parametrize("weights", ["", "imagenet", "random"])
def test_a_network_in_no_file_is_refused(weights):
    with pytest.raises(ValueError, match=f"the file of .* weights='{weights}'"):
        tiny("label-noise-40/sgd", "network=file", f"weights={weights}")


def test_images_are_scaled_to_one_on_request():
    mean, deviation = sources.statistics("unit", np.zeros((1, 2, 2, 3)))
    assert mean.tolist() == [0, 0, 0]
    assert deviation.tolist() == [255, 255, 255]


def test_a_recipe_is_shown_with_its_settings_time_and_score(capsys):
    main(["show", "cifar10-basic-wrn-28-10-200/sam", "--set", "rho=0.1"])
    text = " ".join(capsys.readouterr().out.replace("|", " ").split())
    for expected in (
        "keras_sam.experiments cifar10-basic-wrn-28-10-200/sam --set rho=0.1",
        "dataset=cifar10",
        "learning_rate=0.1, cosine_decay=True",
        "SAMModel rho=0.1",
        "epochs=200",
        "hardware of the paper 8 V100",
        "2.7±0.1 % (table 1 of https://arxiv.org/abs/2010.01412)",
    ):
        assert expected in text


def test_each_recipe_of_a_pattern_has_its_own_command(capsys):
    main(["show", "label-noise-0/sgd*", "--smoke"])
    text = " ".join(capsys.readouterr().out.replace("|", " ").split())
    assert "experiments label-noise-0/sgd --smoke" in text
    assert "experiments label-noise-0/sgd-2x --smoke" in text


def test_without_rich_the_error_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ImportError, match=r"pip install keras_sam\[examples\]"):
        tables.render(["a"], [["b"]])


def test_a_recipe_shows_every_setting():
    fields = {field.name for field in dataclasses.fields(Experiment)}
    shown = {name for names in recipe.GROUPS.values() for name in names}
    apart = {"task", "variant", "sam", "table", "paper_error", "hardware"}
    assert shown | apart == fields
    assert not shown & apart


# Multiplications per image: 5.24e9 (Wide ResNet 28-10 at 32 x 32, table 5 of
# its paper) and 69e6 (ResNet-32); times two for additions, and times three for
# forward and backward pass.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10-basic-wrn-28-10-200/sgd", 5.24e9 * 2 * 3 * 200 * 50_000),
        ("cifar10-basic-wrn-28-10-200/sgd-2x", 5.24e9 * 2 * 3 * 400 * 50_000),
        ("cifar10-basic-wrn-28-10-200/sam", 5.24e9 * 2 * 6 * 200 * 50_000),
        ("label-noise-40/bootstrap", 69e6 * 2 * 6 * 200 * 50_000),
    ],
)
def test_operations_are_those_of_all_passes(name, expected):
    found = recipe.num_operations(EXPERIMENTS[name])
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("finetune-cifar10-l2/sam", []),
        ("label-noise-0/sam", ["dataset=mnist"]),
    ],
)
def test_operations_are_not_known_of_external_files(name, settings, capsys):
    experiment = EXPERIMENTS[name].with_settings(settings)
    assert math.isnan(recipe.num_operations(experiment))
    main(["show", name, "--set", "width=0", *settings])
    assert "not known" in capsys.readouterr().out


def test_every_hardware_and_data_set_is_known():
    for experiment in EXPERIMENTS.values():
        assert experiment.hardware in ("", *recipe.SPEEDS)
        assert experiment.dataset in sources.SIZES


def test_results_do_not_depend_on_the_number_of_workers(tmp_path):
    experiment = tiny("label-noise-40/sam", "epochs=2")
    [one] = run(experiment, tmp_path / "one", verbose=0)
    several = experiment.with_settings(["workers=2"])
    [two] = run(several, tmp_path / "two", verbose=0)
    assert one["loss"] == two["loss"]


def test_bootstrap_trains_on_what_the_first_network_predicts(tmp_path):
    experiment = tiny("label-noise-40/bootstrap-sam")
    run(experiment, tmp_path, verbose=0)
    assert len(list(tmp_path.rglob("epochs.csv"))) == 2
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
    # Labels are one-hot: those of a mixture are its weights.
    np.testing.assert_allclose(
        x.reshape(6), y.astype("float64") @ images.reshape(6), rtol=1e-5
    )
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-6)
    # One coefficient for the batch, the larger share for the image itself.
    [share] = {*y.max(-1)}
    assert 0.5 <= share < 1
    order = y.argmax(-1)
    np.testing.assert_allclose(y[np.arange(6), order[::-1]], 1 - share)
    np.testing.assert_array_equal(batches[0][0], x)
