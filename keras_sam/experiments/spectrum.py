"""The Hessian of the training loss, while a network is trained and after it."""

from pathlib import Path
from typing import Any

import keras

from keras_sam import sharpness

BATCH_SIZE = 500


class Eigenvalues(keras.callbacks.Callback):
    """Measures the five largest eigenvalues after some epochs.

    They are in files, so that a run that was stopped still has them.

    Args:
        run_dir: Folder of the run.
        epochs: Integers, counted from 1.
        x: Images that the loss is a mean over.
        y: Labels.
    """

    def __init__(self, run_dir: Path, epochs: Any, x: Any, y: Any) -> None:
        super().__init__()
        self._run_dir = run_dir
        self._epochs = epochs
        self._objective: sharpness.Objective | None = None
        self._data = x, y

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 not in self._epochs:
            return
        if self._objective is None:
            self._objective = sharpness.Objective(
                self.model, *self._data, batch_size=BATCH_SIZE
            )
        self._objective.refresh()
        sharpness.hessian_eigenvalues(self._objective, verbose=0).save(
            self._run_dir / f"eigenvalues-{epoch + 1}.json"
        )


def measurements(
    model: keras.Model, run_dir: Path, epochs: Any, x: Any, y: Any
) -> dict[str, Any]:
    """Return the eigenvalues that were measured, and the density now.

    Args:
        model: The trained network.
        run_dir: Folder of the run.
        epochs: Those of `Eigenvalues`.
        x: Images that the loss is a mean over.
        y: Labels.

    Returns:
        Dictionary for a record.
    """
    found = {
        str(epoch): sharpness.load(run_dir / f"eigenvalues-{epoch}.json")
        for epoch in epochs
    }
    density = sharpness.spectral_density(
        *(model, x, y),
        batch_size=BATCH_SIZE,
        steps=30,
        num_probes=2,
        num_points=200,
        verbose=0,
    )
    return {
        "eigenvalues": {k: r.eigenvalues.tolist() for k, r in found.items()},
        "converged": all(bool(r.converged.all()) for r in found.values()),
        "grid": density.grid.round(4).tolist(),
        "density": density.density.round(7).tolist(),
    }
