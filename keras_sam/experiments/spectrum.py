"""The Hessian of the training loss during and after training."""

from pathlib import Path
from typing import Any

import keras

from keras_sam import sharpness


class SpectrumLog(keras.callbacks.Callback):
    """Writes eigenvalues after some epochs, and their density at the end.

    Args:
        run_dir: Folder of the run, which a resumed run reads.
        epochs: Integers, counted from 1.
        x: Images that the loss is a mean over.
        y: Labels.
    """

    def __init__(self, run_dir: Path, epochs: Any, x: Any, y: Any) -> None:
        super().__init__()
        self._run_dir = run_dir
        self._epochs = epochs
        self._data = x, y

    def on_train_begin(self, logs: Any = None) -> None:
        self._objective = sharpness.Objective(
            self.model, *self._data, batch_size=500
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 in self._epochs:
            self._objective.refresh()
            sharpness.hessian_eigenvalues(self._objective, verbose=0).save(
                self._run_dir / f"eigenvalues-{epoch + 1}.json"
            )

    def on_train_end(self, logs: Any = None) -> None:
        self._objective.refresh()
        sharpness.spectral_density(
            self._objective,
            steps=30,
            num_probes=2,
            num_points=200,
            verbose=0,
        ).save(self._run_dir / "density.json")


def read(run_dir: Path, epochs: Any) -> dict[str, Any]:
    """Return the results of `SpectrumLog`, for a record."""
    if not epochs:
        return {}
    measured = {
        str(epoch): sharpness.load(run_dir / f"eigenvalues-{epoch}.json")
        for epoch in epochs
    }
    density = sharpness.load(run_dir / "density.json")
    return {
        "eigenvalues": {k: r.eigenvalues.tolist() for k, r in measured.items()},
        "converged": all(bool(r.converged.all()) for r in measured.values()),
        "grid": density.grid.round(4).tolist(),
        "density": density.density.round(7).tolist(),
    }
