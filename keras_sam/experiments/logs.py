"""The files of a run in progress: rows of a CSV file, checkpoints."""

import csv
import importlib.util
import re
import time
from pathlib import Path
from typing import Any

import keras

from keras_sam.experiments import files

_LOG = "epochs.csv"


def callbacks(run_dir: Path) -> list[keras.callbacks.Callback]:
    """Return the callbacks that write logs and checkpoints.

    `TensorBoard` is among them if TensorFlow and TensorBoard are installed.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    chosen = [
        StepTime(),
        keras.callbacks.CSVLogger(run_dir / _LOG, append=True),
        Checkpoint(run_dir),
    ]
    if all(map(importlib.util.find_spec, ("tensorflow", "tensorboard"))):
        chosen.insert(1, keras.callbacks.TensorBoard(run_dir / "tensorboard"))
    return chosen


class StepTime(keras.callbacks.Callback):
    """Adds the mean time of a step to the logs of each epoch.

    Must be listed before the callbacks that write these logs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._start = 0.0
        self._num_steps = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._num_steps = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._num_steps == 0:
            self._start = time.perf_counter()
        self._num_steps += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.perf_counter() - self._start
        logs["step_seconds"] = seconds / self._num_steps


class Checkpoint(keras.callbacks.Callback):
    """Saves model and optimizer after each epoch, and deletes the last file.

    The number of the epoch is in the name of the file, and the file is renamed
    to it when complete, so that a kill at any time leaves both or neither.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self._run_dir = run_dir

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        written = self._run_dir / "part.weights.h5"
        self.model.save_weights(written)
        written.replace(self._run_dir / f"epoch-{epoch + 1}.weights.h5")
        previous = self._run_dir / f"epoch-{epoch}.weights.h5"
        previous.unlink(missing_ok=True)


def restore(model: keras.Model, run_dir: Path) -> int:
    """Load the weights of the last complete epoch, if there are any.

    Rows of later epochs, which are repeated, are removed from the log.

    Returns:
        Integer, the number of complete epochs.

    Raises:
        DamagedFileError: If these weights or a row of the log are damaged.
    """
    checkpoints = {
        int(match[1]): file
        for file in run_dir.glob("epoch-*.weights.h5")
        if (match := re.fullmatch(r"epoch-(\d+)\.weights\.h5", file.name))
    }
    epoch = max(checkpoints, default=0)
    # The log is written before the checkpoint: with a checkpoint of `epoch`
    # epochs it has a header and at least as many rows.
    if epoch:
        model.optimizer.build(model.trainable_variables)
        _load(model, checkpoints[epoch])
    log = run_dir / _LOG
    lines = files.whole_lines(log)[: epoch + 1] if epoch else []
    _rows(log, lines, epoch)
    if log.exists():
        files.replace(log, "".join(f"{line}\n" for line in lines))
    return epoch


def read(run_dir: Path) -> list[dict[str, float]]:
    """Return the log, a dictionary for each epoch; the first has number 0.

    Raises:
        DamagedFileError: If a row is damaged.
    """
    log = run_dir / _LOG
    lines = files.whole_lines(log)
    return _rows(log, lines, len(lines) - 1)


def _rows(log: Path, lines: list[str], number: int) -> list[dict[str, float]]:
    """Return the rows of the first epochs.

    Raises:
        DamagedFileError: If one of them is missing or damaged.
    """
    # Line 1 is the header, and epoch 0 is line 2.
    header, *rows = csv.reader(lines) if lines else [[]]
    history = []
    for epoch in range(number):
        cells = rows[epoch] if epoch < len(rows) else []
        # `CSVLogger` has "NA" in columns for validation, even without one.
        try:
            row = {
                name: float(text)
                for name, text in zip(header, cells, strict=True)
                if text != "NA"
            }
        except ValueError:
            row = {}
        if row.get("epoch") != epoch:
            raise files.DamagedFileError(
                f"{log}, line {epoch + 2}, is not the row of epoch {epoch}. "
                "Remove the folder to train anew. "
                f"Received: {','.join(cells)!r}"
            )
        history.append(row)
    return history


def _load(model: keras.Model, file: Path) -> None:
    try:
        model.load_weights(file)
    except (OSError, KeyError, ValueError) as error:
        raise files.DamagedFileError(
            f"{file} holds no weights of this network. Remove its folder to "
            f"train anew. Received: {error}"
        ) from error
