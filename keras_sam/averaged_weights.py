"""Averages of the weights late in training."""

import os
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sam import backend
from keras_sam import validation
from keras_sam.sharpness.data import batches
from keras_sam.types import Tensor


class AveragedWeights(keras.callbacks.Callback):
    """Averages the weights late in training, and ends with their mean.

    The mean over the path of training lies nearer to the middle of a flat
    region than its last point, costs no second pass, and adds to what SAM
    gains. Works with any Keras model.

    Validation during `fit`, and `evaluate` and `predict` with this callback,
    see the mean; training goes on from the weights themselves. After `fit` the
    model has the mean. Statistics of `BatchNormalization` belong to the weights
    that they were collected with: for the mean they are estimated anew, as the
    mean over batches of `x`, in training mode.

    Args:
        start: Integer >= 1. The first training step whose weights are averaged,
            for example 75 % of all steps.
        x: Inputs as `fit` takes them, or batches, for the statistics; `None`
            for a model without `BatchNormalization`.
        every: Integer >= 1. Every how many steps weights are added to the mean.
            Stochastic weight averaging adds them once an epoch. Defaults to 1.
        batch_size: Integer >= 1, of the batches of `x`. Should be that of
            training. Defaults to 32, as in `fit`.
        num_batches: Integer >= 1. How many batches of `x` are used at most.
            Defaults to 30.
        swap_on_epoch: Boolean. Whether the model has the mean from the end of
            an epoch to the beginning of the next one, so that callbacks listed
            after this one, such as `ModelCheckpoint`, see it. As for
            `keras.callbacks.SwapEMAWeights`. Defaults to `False`.
        backup: Path. The mean is written here at the end of each epoch, and
            read if training is resumed by `keras.callbacks.BackupAndRestore`,
            which must be listed before this callback. Defaults to `None`: not
            written, and each `fit` starts a mean of its own.

    Raises:
        ValueError: If an argument is outside its range; at the beginning of
            training, if the model has `BatchNormalization` and there is no `x`.

    Reference:
        [Izmailov et al., 2018](https://arxiv.org/abs/1803.05407), algorithm 1;
        with SAM [Kaddour et al., 2022](https://arxiv.org/abs/2202.00661), who
        compare the two on 42 tasks.

    Example:
    ```python
    averaged = keras_sam.callbacks.AveragedWeights(
        start=3 * num_steps // 4, x=x_train, batch_size=128
    )
    model.fit(x_train, y_train, batch_size=128, callbacks=[averaged])
    ```

    One weight that is 0.5, 0.75 and 0.875 after each of three steps:

    >>> layer = keras.layers.Dense(
    ...     1, use_bias=False, kernel_initializer="zeros"
    ... )
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> model.compile(keras.optimizers.SGD(0.25), "mse")
    >>> averaged = keras_sam.callbacks.AveragedWeights(start=2)
    >>> one = np.ones((1, 1))
    >>> _ = model.fit(one, one, epochs=3, callbacks=[averaged], verbose=0)
    >>> float(layer.kernel[0, 0])
    0.8125
    """

    def __init__(
        self,
        start: int,
        x: Any = None,
        *,
        every: int = 1,
        batch_size: int = 32,
        num_batches: int = 30,
        swap_on_epoch: bool = False,
        backup: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self._start = validation.integer("start", start)
        self._every = validation.integer("every", every)
        self._x = x
        self._batch_size = validation.integer("batch_size", batch_size)
        self._num_batches = validation.integer("num_batches", num_batches)
        self._swap_on_epoch = swap_on_epoch
        self._backup = None if backup is None else Path(backup)
        self._batches: list[Any] = []
        self._step = self._first_step = self._count = 0
        self._mean: list[Tensor] = []
        self._kept: list[tuple[keras.Variable, Any]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        model = self.model
        self._kept, self._mean, self._count = [], [], 0
        self._step = int(ops.convert_to_numpy(model.optimizer.iterations))
        self._batches = []
        if self._x is not None:
            read = batches(
                model, self._x, None, None, self._batch_size, self._num_batches
            )
            self._batches = [batch.x for batch, _ in read]
        elif _normalization_layers(model):
            raise ValueError(
                "`x` must be given for a model with `BatchNormalization`, "
                "whose statistics are estimated anew for the mean of the "
                "weights. Received: x=None"
            )
        if self._step:
            self._restore()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._swap_back()
        self._first_step = self._step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        before, self._step = self._step, self._first_step + batch + 1
        # Several steps may be one execution; before the start, both are < 0.
        periods = [
            (step - self._start) // self._every for step in (before, self._step)
        ]
        if self._step < self._start or periods[0] == periods[1]:
            return
        self._count += 1
        weights = [backend.read(v) for v in self.model.trainable_variables]
        if self._count == 1:
            self._mean = [ops.copy(weight) for weight in weights]
        else:
            self._mean = [
                m + (w - m) / self._count for m, w in zip(self._mean, weights)
            ]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._backup is not None and self._count:
            self._save(self._backup)
        if self._swap_on_epoch:
            self._swap()

    def on_train_end(self, logs: Any = None) -> None:
        if not self._count:
            warnings.warn(
                "No weights were averaged: training ended before the first "
                f"step to average. Received: start={self._start}, and "
                f"{self._step} steps",
                stacklevel=2,
            )
        self._swap()
        self._kept = []

    def on_test_begin(self, logs: Any = None) -> None:
        self._swap()

    def on_test_end(self, logs: Any = None) -> None:
        self._swap_back()

    def on_predict_begin(self, logs: Any = None) -> None:
        self._swap()

    def on_predict_end(self, logs: Any = None) -> None:
        self._swap_back()

    def _swap(self) -> None:
        """Give the model the mean, unless it has it."""
        if self._kept or not self._count:
            return
        model = self.model
        # Copies: a compiled step on JAX frees the values of variables.
        pairs = [
            *zip(model.trainable_variables, map(ops.copy, self._mean)),
            *self._statistics(model),
        ]
        self._kept = [(v, ops.convert_to_numpy(v)) for v, _ in pairs]
        for variable, value in pairs:
            variable.assign(value)

    def _swap_back(self) -> None:
        for variable, value in self._kept:
            variable.assign(value)
        self._kept = []

    def _statistics(
        self, model: keras.Model
    ) -> list[tuple[keras.Variable, Tensor]]:
        """Return the variables of statistics, and their values for the mean."""
        layers = _normalization_layers(model)
        momenta = [layer.momentum for layer in layers]
        variables = [
            variable
            for layer in layers
            for variable in (layer.moving_mean, layer.moving_variance)
        ]
        values = [variable.value for variable in variables]
        try:
            for k, x in enumerate(self._batches):
                # With a momentum of k / (k + 1) a moving mean is the mean: the
                # first batch replaces what there was.
                for layer in layers:
                    layer.momentum = k / (k + 1)
                values = self._updated(model, x, variables, values)
        finally:
            for layer, momentum in zip(layers, momenta):
                layer.momentum = momentum
        return [*zip(variables, values)]

    def _updated(
        self,
        model: keras.Model,
        x: Any,
        variables: list[keras.Variable],
        values: list[Tensor],
    ) -> list[Tensor]:
        """Return what a forward pass at the mean leaves in some variables."""
        scope = keras.StatelessScope([
            *zip(model.trainable_variables, self._mean),
            *zip(variables, values),
        ])
        with scope:
            backend.call_in_training_mode(model, x)
        return [scope.get_current_value(variable) for variable in variables]

    def _save(self, path: Path) -> None:
        """Write the mean; the one before it is kept.

        A kill may come between this file and that of `BackupAndRestore`.
        """
        arrays = {
            str(i): ops.convert_to_numpy(m) for i, m in enumerate(self._mean)
        }
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            np.savez(file, step=self._step, count=self._count, **arrays)
        if path.exists():
            path.replace(_previous(path))
        new.replace(path)

    def _restore(self) -> None:
        """Read the mean that belongs to the step that training resumes from."""
        if self._backup is None or not self._backup.exists():
            return
        files = filter(Path.exists, (self._backup, _previous(self._backup)))
        for path in files:
            with np.load(path) as file:
                if int(file["step"]) == self._step:
                    self._count = int(file["count"])
                    self._mean = [
                        ops.convert_to_tensor(file[str(i)])
                        for i in range(len(file.files) - 2)
                    ]
                    return
        warnings.warn(
            "The mean of the weights starts anew: the file in `backup` is not "
            f"that of step {self._step}. List `BackupAndRestore` before "
            f"`AveragedWeights`. Received: backup={str(self._backup)!r}",
            stacklevel=2,
        )


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")


def _normalization_layers(
    model: keras.Model,
) -> list[keras.layers.BatchNormalization]:
    return [
        layer
        for layer in backend.flatten_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
    ]
