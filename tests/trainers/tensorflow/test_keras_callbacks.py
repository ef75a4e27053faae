"""The callback that writes with TensorFlow."""

import importlib

from tests.trainers.test_keras_callbacks import callbacks
from tests.trainers.test_keras_callbacks import fit


def test_tensor_board_writes_sharpness(tmp_path, monkeypatch):
    # TensorFlow writes scalars only where the package `tensorboard` is.
    written = {}
    monkeypatch.setattr(
        importlib.import_module("tensorflow.summary"),
        "scalar",
        lambda name, value, step: written.setdefault(name, []).append(value),
    )
    board = callbacks.TensorBoard(tmp_path, update_freq="batch")
    _, history = fit([board], epochs=2)
    assert written["epoch_sharpness"] == history.history["sharpness"]
    assert written["epoch_loss"] == history.history["loss"]
    assert len(written["batch_sharpness"]) == 6
