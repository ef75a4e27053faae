"""What a run leaves while it goes on: a bar, JSON lines, weights."""

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import keras

_LOG = "epochs.jsonl"


def callbacks(
    place: Path, epoch: int, epochs: int, verbose: int
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a run.

    Args:
        place: Folder of the run.
        epoch: Integer, how many epochs are over.
        epochs: Integer, how many there will be.
        verbose: Integer; 0 for no progress bar.

    Returns:
        List of callbacks; `TensorBoard` among them where TensorFlow and
        TensorBoard are installed.
    """
    chosen: list[keras.callbacks.Callback] = [EpochLog(place, epoch)]
    if all(map(importlib.util.find_spec, ("tensorflow", "tensorboard"))):
        chosen.append(keras.callbacks.TensorBoard(place / "tensorboard"))
    if verbose:
        chosen.append(EpochBar(epochs))
    return [*chosen, Checkpoint(place)]


class EpochLog(keras.callbacks.Callback):
    """Writes one line for each epoch to `epochs.jsonl`.

    Args:
        place: Folder of the run.
        epoch: Integer, how many epochs are over; lines of later ones are
            removed, as these are done again.
    """

    def __init__(self, place: Path, epoch: int) -> None:
        super().__init__()
        self._file = place / _LOG
        self._start = 0.0
        self._num_steps = 0
        lines = [json.dumps(e) + "\n" for e in read(place)[:epoch]]
        place.mkdir(parents=True, exist_ok=True)
        self._file.write_text("".join(lines))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._num_steps = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._num_steps == 0:
            self._start = time.perf_counter()
        self._num_steps += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.perf_counter() - self._start
        entry = {
            "epoch": epoch + 1,
            **{name: float(value) for name, value in (logs or {}).items()},
            "step_seconds": seconds / self._num_steps,
        }
        with self._file.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class EpochBar(keras.callbacks.Callback):
    """Shows how many epochs are over and when the last will be.

    Args:
        epochs: Integer, how many there will be.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._bar = keras.utils.Progbar(epochs, unit_name="epoch")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        shown = [(k, (logs or {})[k]) for k in ("loss", "accuracy")]
        self._bar.update(epoch + 1, shown)


class Checkpoint(keras.callbacks.Callback):
    """Keeps model and optimizer as they are after the last whole epoch.

    The number of the epoch is in the name of the file, which appears when it
    is complete, so that a kill at any time leaves both or neither.

    Args:
        place: Folder of the run.
    """

    def __init__(self, place: Path) -> None:
        super().__init__()
        self._place = place

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        written = self._place / "part.weights.h5"
        self.model.save_weights(written)
        written.replace(self._place / f"epoch-{epoch + 1}.weights.h5")
        (self._place / f"epoch-{epoch}.weights.h5").unlink(missing_ok=True)


def restore(model: keras.Model, place: Path) -> int:
    """Load the weights of the last whole epoch, if there are any.

    Args:
        model: A compiled `keras.Model`.
        place: Folder of the run.

    Returns:
        Integer, how many epochs are over.
    """
    found = {
        int(file.name.split(".")[0].removeprefix("epoch-")): file
        for file in place.glob("epoch-*.weights.h5")
    }
    if not found:
        return 0
    epoch = max(found)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(found[epoch])
    return epoch


def read(place: Path) -> list[dict[str, Any]]:
    """Return what `EpochLog` wrote.

    Args:
        place: Folder of the run.

    Returns:
        One dictionary for each epoch.
    """
    file = place / _LOG
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]
