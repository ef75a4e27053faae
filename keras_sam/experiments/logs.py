"""What a run leaves while it goes on: rows of a CSV file, weights."""

import csv
import importlib.util
import time
from pathlib import Path
from typing import Any

import keras

_LOG = "epochs.csv"


def callbacks(run_dir: Path) -> list[keras.callbacks.Callback]:
    """Return the callbacks that write logs and checkpoints.

    `TensorBoard` is among them where TensorFlow and TensorBoard are installed.
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

    It has to come before the callbacks that write these logs.
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
    """Keeps model and optimizer as they are after the last whole epoch.

    The number of the epoch is in the name of the file, which appears when it
    is complete, so that a kill at any time leaves both or neither.
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
    """Load the weights of the last whole epoch, if there are any.

    Rows of later epochs are removed from the log, as these are done again.

    Returns:
        Integer, how many epochs are over.
    """
    checkpoints = {
        int(file.name.split(".")[0].removeprefix("epoch-")): file
        for file in run_dir.glob("epoch-*.weights.h5")
    }
    epoch = max(checkpoints, default=0)
    if epoch:
        model.optimizer.build(model.trainable_variables)
        model.load_weights(checkpoints[epoch])
    log = run_dir / _LOG
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(lines[: epoch + 1] if epoch else ()))
    return epoch


def read(run_dir: Path) -> list[dict[str, float]]:
    """Return the log, a dictionary for each epoch; the first has number 0."""
    # `CSVLogger` has "NA" in columns for validation, also where there is none.
    with (run_dir / _LOG).open(newline="") as file:
        return [
            {k: float(text) for k, text in row.items() if text != "NA"}
            for row in csv.DictReader(file)
        ]
