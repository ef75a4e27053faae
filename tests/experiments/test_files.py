"""The files of a run after a kill or a power cut."""

import json

import pytest

from keras_sam.experiments import Experiment
from keras_sam.experiments import logs
from keras_sam.experiments import records
from keras_sam.experiments import run
from keras_sam.experiments.__main__ import main
from keras_sam.experiments.files import DamagedFileError
from tests import running

RECORD = {
    "name": "digits/sam",
    "paper_error": "",
    "seed": 0,
    "error": 12.5,
    "num_train": 8,
    "num_weights": 100,
    "settings": Experiment(task="digits", variant="sam").settings(),
}
LINE = json.dumps(RECORD).encode() + b"\n"


def settings(**changes):
    return {"settings": {**RECORD["settings"], **changes}}


@pytest.mark.parametrize("rest", [LINE[:40], b"\0" * 100, LINE[:9] + b"\0\0"])
def test_a_truncated_record_is_ignored_and_replaced(rest, tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_bytes(LINE + rest)
    with pytest.warns(UserWarning, match="records.jsonl was cut off"):
        assert records.read(file) == [RECORD]
    records.append(file, {**RECORD, "seed": 1})
    assert [record["seed"] for record in records.read(file)] == [0, 1]


def test_a_truncated_record_alone_is_replaced(tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_bytes(LINE[:40])
    records.append(file, RECORD)
    assert records.read(file) == [RECORD]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"3", "must be a dictionary. Received: 3"),
        (b"[]", "must be a dictionary"),
        (b"", "Expecting value"),
        (b"\0\0\0", "Expecting value"),
        (b"\xff{}", "Expecting value"),
        (LINE[:40], "Unterminated string|Expecting"),
        ({"error": "low"}, "`error` must be float. Received: error='low'"),
        ({"error": True}, "`error` must be float"),
        ({"error": float("nan")}, "`error` must be finite"),
        ({"seed": 0.5}, "`seed` must be int"),
        ({"name": None}, "`name` must be str"),
        ({"settings": None}, "`settings` must be dict"),
        (settings(epochs="many"), "`epochs` must be int"),
        (settings(sam=[]), "`sam` must be dict"),
        (settings(nesterov=1), "`nesterov` must be bool"),
    ],
)
def test_any_other_damage_is_an_error_with_file_and_line(
    line, message, tmp_path, capsys
):
    if isinstance(line, dict):
        line = json.dumps({**RECORD, **line}).encode()
    file = tmp_path / "records.jsonl"
    file.write_bytes(LINE + line + b"\n" + LINE)
    with pytest.raises(SystemExit):
        main(["report", str(file)])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    with pytest.raises(DamagedFileError, match=message) as raised:
        records.read(file)
    assert f"{file}, line 2, is no record" in str(raised.value)
    assert f"{file}, line 2" in error


@pytest.mark.slow
def test_runs_killed_at_any_time_end_as_one_that_was_not(tmp_path):
    printed = running.printed_by("-m", "tests.experiments.kills", str(tmp_path))
    whole, *killed = map(json.loads, printed.splitlines()[-3:])
    assert killed == [whole, {"kills": 30}]


class Killed(Exception):
    """Stops a run in a test."""


@pytest.fixture
def experiment():
    return Experiment(
        task="digits",
        variant="sam",
        source="digits",
        augmentation="none",
        network="mlp",
        depth=1,
        width=4,
        epochs=4,
        eager=True,
        num_train=8,
        num_test=8,
        batch_size=8,
        seeds=(0,),
    )


@pytest.fixture
def stopped(experiment, tmp_path, monkeypatch):
    """Return the folder of a run stopped after three of its epochs."""
    save = logs.Checkpoint.on_epoch_end

    def stop(self, epoch, logs=None):
        save(self, epoch, logs)
        if epoch == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(logs.Checkpoint, "on_epoch_end", stop)
        with pytest.raises(Killed):
            run(experiment, tmp_path, verbose=0)
    return next(tmp_path.rglob("epochs.csv")).parent


def test_checkpoints_with_odd_names_are_left_alone(
    stopped, experiment, tmp_path
):
    for name in ("epoch-x", "epoch-", "epoch-9 (copy)", "epoch--1", "part"):
        (stopped / f"{name}.weights.h5").write_text("odd")
    [record] = run(experiment, tmp_path, verbose=0)
    assert len(logs.read(stopped)) == 4
    assert record["error"] >= 0


@pytest.mark.parametrize("rest", [b"3,0.2", b"3,0.2,0.5,\0\0", b"\0\0\0"])
def test_the_epoch_of_a_truncated_last_row_is_repeated(
    rest, stopped, experiment, tmp_path
):
    log = stopped / "epochs.csv"
    log.write_bytes(log.read_bytes() + rest)
    with pytest.warns(UserWarning, match=r"epochs\.csv was cut off"):
        run(experiment, tmp_path, verbose=0)
    assert [row["epoch"] for row in logs.read(stopped)] == [0, 1, 2, 3]


def cut(line):
    return line[:-9] + b"\r\n"


def blank(line):
    return b"\0" * len(line)


@pytest.mark.parametrize(
    ("damage", "number"),
    [
        (lambda lines: [*lines[:2], cut(lines[2]), lines[3]], 3),
        (lambda lines: [*lines[:2], lines[2][:9] + lines[3]], 3),
        (lambda lines: [lines[0], blank(lines[1]), *lines[2:]], 2),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [b"\0\0\r\n", *lines[1:]], 2),
        (lambda lines: lines[:3], 4),
        (lambda lines: [], 2),
    ],
)
def test_a_damaged_row_of_a_complete_epoch_is_named(
    damage, number, stopped, experiment, tmp_path
):
    log = stopped / "epochs.csv"
    log.write_bytes(
        b"".join(damage(log.read_bytes().splitlines(keepends=True)))
    )
    message = rf"epochs\.csv, line {number}, is not the row of epoch"
    with pytest.raises(DamagedFileError, match=message):
        run(experiment, tmp_path, verbose=0)


@pytest.mark.parametrize("content", [b"", b"\0" * 1000])
def test_damaged_weights_are_named(content, stopped, experiment, tmp_path):
    (stopped / "epoch-3.weights.h5").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"epoch-3\.weights\.h5 holds"):
        run(experiment, tmp_path, verbose=0)
