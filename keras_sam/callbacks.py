"""Callbacks for `fit`: averages, sharpness in the logs, snapshots."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sam import sharpness
from keras_sam import validation
from keras_sam.averaged_weights import AveragedWeights
from keras_sam.sharpness import Objective

__all__ = [
    "AveragedWeights",
    "SharpnessMonitor",
    "TrajectoryRecorder",
]

Measure = Callable[[Objective], float]


MEASURES: dict[str, Measure] = {
    "top_eigenvalue": lambda objective: sharpness.hessian_eigenvalues(
        objective, k=1, verbose=0
    ).eigenvalues[0],
    "trace": lambda objective: (
        sharpness.hessian_trace(objective, verbose=0).trace
    ),
    "worst_case_sharpness": lambda objective: (
        sharpness.worst_case_sharpness(objective, verbose=0).sharpness
    ),
    "average_sharpness": lambda objective: (
        sharpness.average_sharpness(objective, verbose=0).sharpness
    ),
}


class SharpnessMonitor(keras.callbacks.Callback):
    """Measures sharpness during training and adds it to `logs`.

    Keras passes the logs from callback to callback: list this one before
    `CSVLogger`, `TensorBoard`, `EarlyStopping` and others that read the values.
    The history that `fit` returns has them in any case.

    The logs of an epoch without a measurement have `nan`, so that a file has a
    column from the start. With `every_steps`, the logs of a measured step have
    the value, and those of the epoch the last value in the epoch.

    The data are fixed, and the measure is compiled once for all of training.
    Weights, statistics, seeds and optimizer are not changed.

    Args:
        x: Inputs, or batches; see `keras_sam.sharpness.Objective`.
        y: Targets.
        sample_weight: Weights of examples.
        measures: Names of measures with their default arguments:
            `"top_eigenvalue"`, `"trace"`, `"worst_case_sharpness"`,
            `"average_sharpness"`; or a dictionary from names in the logs to
            functions that take an `Objective` and return a number.
        every_epochs: Measure at the end of every `every_epochs`-th epoch,
            starting with the first.
        every_steps: Measure after every `every_steps`-th training step instead.
        **options: Those of `Objective`: `variables`, `training`, `loss`,
            `batch_size`.

    Example, with the model of `keras_sam.sharpness`:

    >>> monitor = keras_sam.callbacks.SharpnessMonitor(x, y)
    >>> history = model.fit(x, y, epochs=2, callbacks=[monitor], verbose=0)
    >>> [round(value, 3) for value in history.history["top_eigenvalue"]]
    [4.0, 4.0]

    Raises:
        ValueError: If an argument is invalid.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        measures: Iterable[str] | Mapping[str, Measure] = ("top_eigenvalue",),
        every_epochs: int = 1,
        every_steps: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._data = (x, y, sample_weight)
        self._options = options
        self._measures = _functions(measures)
        self._every_epochs = validation.integer("every_epochs", every_epochs)
        self._every_steps = every_steps
        if every_steps is not None:
            validation.integer("every_steps", every_steps)
        self._objective: Objective | None = None
        self._steps = 0
        self._last: dict[str, float] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        self._objective = None
        self._steps = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._last = dict.fromkeys(self._measures, float("nan"))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._steps += 1
        if self._every_steps and self._steps % self._every_steps == 0:
            self._last = self.measure()
            if logs is not None:
                logs.update(self._last)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._every_steps and epoch % self._every_epochs == 0:
            self._last = self.measure()
        if logs is not None:
            logs.update(self._last)

    def measure(self) -> dict[str, float]:
        """Return the value of each measure at the present weights."""
        model = self.model
        # Made at the first measurement, when the model is built and compiled;
        # later ones read the new weights, without another compilation.
        if self._objective is None:
            self._objective = Objective(model, *self._data, **self._options)
        else:
            self._objective.refresh()
        return {
            name: float(function(self._objective))
            for name, function in self._measures.items()
        }


class TrajectoryRecorder(keras.callbacks.Callback):
    """Stores snapshots of the trainable weights for `loss_surface`.

    The first is taken before training, the last after it. Each needs as much
    memory as the weights.

    Args:
        every_epochs: Take one at the end of every `every_epochs`-th epoch.
        every_steps: Take one after every `every_steps`-th step instead.

    Example, with the model of `keras_sam.sharpness`:

    >>> recorder = keras_sam.callbacks.TrajectoryRecorder()
    >>> _ = model.fit(x, y, epochs=2, callbacks=[recorder], verbose=0)
    >>> recorder.trajectory.steps.tolist(), recorder.trajectory.points.shape
    ([0, 1, 2], (3, 3))

    Raises:
        ValueError: If an argument is not an integer above 0.
    """

    def __init__(
        self, *, every_epochs: int = 1, every_steps: int | None = None
    ) -> None:
        super().__init__()
        self._every_epochs = validation.integer("every_epochs", every_epochs)
        self._every_steps = every_steps
        if every_steps is not None:
            validation.integer("every_steps", every_steps)
        self._count = 0
        self._steps: list[int] = []
        self._points: list[np.ndarray] = []

    @property
    def trajectory(self) -> sharpness.Trajectory:
        """The snapshots so far.

        Raises:
            ValueError: If there are none.
        """
        if not self._points:
            raise ValueError(
                "Nothing was recorded: pass the callback to `fit` first. "
                "Received: 0 snapshots"
            )
        return sharpness.Trajectory(
            np.array(self._steps), np.stack(self._points)
        )

    def on_train_begin(self, logs: Any = None) -> None:
        self._count, self._steps, self._points = 0, [], []
        if self.model.built:
            self._take()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._count += 1
        if self._every_steps and self._count % self._every_steps == 0:
            self._take()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._every_steps and (epoch + 1) % self._every_epochs == 0:
            self._take()

    def on_train_end(self, logs: Any = None) -> None:
        if not self._steps or self._steps[-1] != self._count:
            self._take()

    def _take(self) -> None:
        weights = self.model.trainable_variables
        self._steps.append(self._count)
        self._points.append(
            np.concatenate([ops.convert_to_numpy(w).ravel() for w in weights])
        )


def _functions(measures: Any) -> dict[str, Measure]:
    if isinstance(measures, Mapping):
        return dict(measures)
    names = [measures] if isinstance(measures, str) else list(measures)
    unknown = [name for name in names if name not in MEASURES]
    if unknown or not names:
        known = ", ".join(f'"{name}"' for name in MEASURES)
        raise ValueError(
            f"`measures` must be names out of {known}, or a dictionary of "
            f"functions. Received: measures={measures!r}"
        )
    return {name: MEASURES[name] for name in names}
