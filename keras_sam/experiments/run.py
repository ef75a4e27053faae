"""The runner of experiments: data, model, fit, record."""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_sam
from keras_sam.backend import strategies
from keras_sam.data.batches import ImageBatches
from keras_sam.data.batches import standardized
from keras_sam.data.datasets import ImageDataset
from keras_sam.data.label_noise import symmetric_noise
from keras_sam.experiments import label_log
from keras_sam.experiments import logs
from keras_sam.experiments import networks
from keras_sam.experiments import records
from keras_sam.experiments import sources
from keras_sam.experiments import spectrum
from keras_sam.experiments.augmentations import AUGMENTATIONS
from keras_sam.experiments.config import Experiment
from keras_sam.experiments.mixing import MixedBatches
from keras_sam.experiments.mixing import bootstrapped_labels
from keras_sam.schedules import WarmupStableDecay


def run(
    experiment: Experiment,
    folder: Path,
    command: str = "",
    verbose: int = 2,
    file: Path | None = None,
) -> list[records.Record]:
    """Train an experiment for each of its seeds that has no record yet.

    A stopped run is resumed after its last complete epoch.

    Args:
        experiment: `Experiment`.
        folder: Has a subfolder for the logs of each run.
        command: The command line, for the record.
        verbose: As for `fit`. Defaults to 2, a line for each epoch.
        file: Of the records, a line for each run. Defaults to `records.jsonl`
            in `folder`.

    Returns:
        The new records.

    Example:
    >>> import pathlib
    >>> import tempfile
    >>> from keras_sam.experiments import EXPERIMENTS
    >>> from keras_sam.experiments import run
    >>> experiment = EXPERIMENTS["label-noise-40/sam"].with_settings(
    ...     ["source=digits", "augmentation=none"]
    ... )
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> [record] = run(experiment.smoke(), folder, verbose=0)
    >>> record["name"], record["seed"], record["num_train"]
    ('label-noise-40/sam', 0, 8)
    """
    file = file or folder / "records.jsonl"
    done = records.finished(records.read(file), experiment)
    missing = [seed for seed in experiment.seeds if seed not in done]
    if not missing:
        return []
    # Both raise before data are loaded, if the backend lacks the strategy or
    # the network has no such size.
    strategies.scope(experiment.strategy)
    networks.check(experiment.network, experiment.depth, experiment.width)
    dataset = sources.load(experiment, missing[0])
    new = []
    for seed in missing:
        if experiment.redrawn and seed != missing[0]:
            dataset = sources.load(experiment, seed)
        run_dir = folder / experiment.name / records.digest(experiment, seed)
        metrics = Run(experiment, dataset, seed, run_dir, verbose).metrics()
        new.append(records.make(experiment, seed, metrics, command))
        records.append(file, new[-1])
        for leftover in (*run_dir.rglob("*.h5"), *run_dir.glob("*.npy")):
            leftover.unlink()
    return new


@dataclasses.dataclass(frozen=True)
class Run:
    """Training with one seed.

    The seed is that of initial weights, order, augmentation and noise;
    `run_dir` has the logs and all that is needed to resume a stopped run.
    """

    experiment: Experiment
    dataset: ImageDataset
    seed: int
    run_dir: Path
    verbose: int = 0

    def metrics(self) -> dict[str, Any]:
        """Return metrics after training, by name; errors are in per cent."""
        start = time.perf_counter()
        labels = self._labels()
        model = self._fitted(labels)
        error, top_5_error = self._test_errors(model)
        history = logs.read(self.run_dir)
        clean = self.dataset.train[1]
        return {
            "error": error,
            "top_5_error": top_5_error,
            "wrong_labels": 100 * float(np.mean(labels != clean)),
            "loss": history[-1]["loss"],
            "train_error": 100 - 100 * history[-1]["accuracy"],
            "sharpness": history[-1]["sharpness"],
            "step_seconds": float(
                np.median([epoch["step_seconds"] for epoch in history])
            ),
            "seconds": time.perf_counter() - start,
            "num_train": len(labels),
            "num_test": len(self.dataset.test[1]),
            "num_weights": model.count_params(),
            **label_log.read(history),
            **spectrum.read(self.run_dir, self.experiment.spectrum),
        }

    def _labels(self) -> Any:
        """Return the labels to train on, including wrong ones."""
        labels = self.dataset.train[1]
        if self.experiment.label_noise:
            labels = symmetric_noise(
                labels,
                self.experiment.label_noise,
                self.dataset.num_classes,
                self.seed,
                self.experiment.include_own,
            ).labels
        return (
            self._bootstrapped(labels) if self.experiment.bootstrap else labels
        )

    def _bootstrapped(self, labels: Any) -> Any:
        """Return the labels that a network trained on `labels` predicts."""
        file = self.run_dir / "bootstrapped.npy"
        if not file.exists():
            first = dataclasses.replace(
                self, run_dir=self.run_dir / "first", verbose=0
            )
            predicted = bootstrapped_labels(
                first._fitted(labels),
                self.dataset.train[0],
                self._statistics,
                self.experiment.batch_size,
            )
            # A kill leaves the whole file or none, as in `files.replace`.
            written = file.with_suffix(".part.npy")
            np.save(written, predicted)
            written.rename(file)
        return np.load(file)

    def _fitted(self, labels: Any) -> keras.Model:
        """Return the network after the last epoch."""
        experiment = self.experiment
        keras.utils.clear_session()
        keras.utils.set_random_seed(self.seed)
        with strategies.scope(experiment.strategy):
            # Rounded up: the last batch of an epoch may be smaller.
            steps = -(-len(labels) // experiment.batch_size)
            num_steps = experiment.num_epochs * steps
            model = compiled(experiment, self.dataset, num_steps)
            epoch = logs.restore(model, self.run_dir)
            data = batches(experiment, self.dataset, labels, self.seed, epoch)
            # `fit` would draw batches to build the model; see `Batches`.
            model.test_on_batch(*data[0])
            model.fit(
                data,
                epochs=experiment.num_epochs,
                initial_epoch=epoch,
                shuffle=False,
                verbose=self.verbose,
                callbacks=[
                    *self._spectrum_logs(labels),
                    *self._label_logs(labels),
                    *logs.callbacks(self.run_dir),
                ],
            )
        return model

    def _spectrum_logs(self, labels: Any) -> list[keras.callbacks.Callback]:
        epochs = self.experiment.spectrum
        if not epochs:
            return []
        x = self._inputs(slice(1000))
        y = _one_hot(self.dataset, labels[:1000])
        return [spectrum.SpectrumLog(self.run_dir, epochs, x, y)]

    def _label_logs(self, labels: Any) -> list[keras.callbacks.Callback]:
        number = self.experiment.watched
        if not number:
            return []
        right = self.dataset.train[1]
        # Evenly spaced, which covers all classes even if the images are sorted
        # by class, and is independent of which labels are wrong.
        number = min(number, len(right))
        rows = np.linspace(0, len(right) - 1, number).astype("int64")
        x = self._inputs(rows)
        return [label_log.LabelLog(x, labels[rows], right[rows])]

    def _inputs(self, rows: Any) -> Any:
        """Return training images as the network takes them."""
        return standardized(self.dataset.train[0][rows], self._statistics)

    @functools.cached_property
    def _statistics(self) -> tuple[Any, Any]:
        images = self.dataset.train[0]
        return sources.statistics(self.experiment.standardize, images)

    def _test_errors(self, model: keras.Model) -> tuple[float, float]:
        """Return the errors on the test images in per cent, top 1 and top 5."""
        images, labels = self.dataset.test
        data = ImageBatches(
            images,
            _one_hot(self.dataset, labels),
            self.experiment.batch_size,
            statistics=self._statistics,
            workers=self.experiment.workers,
        )
        metrics = model.evaluate(data, verbose=0, return_dict=True)
        return 100 - 100 * metrics["accuracy"], 100 - 100 * metrics["top_5"]


def compiled(
    experiment: Experiment, dataset: ImageDataset, num_steps: int
) -> keras.Model:
    """Return the compiled network.

    A learning rate that decays is 0 after `num_steps`.
    """
    network = networks.of(experiment, dataset)
    # L2(decay / 2) adds decay / 2 ||w||^2 to the loss, decay w to its gradient.
    decay = experiment.weight_decay
    is_in_loss = decay and not experiment.decoupled
    penalty = keras.regularizers.L2(decay / 2) if is_in_loss else None
    for variable in network.trainable_variables:
        variable.regularizer = penalty
    model = keras_sam.SAMModel.from_model(network, **experiment.sam)
    model.compile(
        keras.optimizers.SGD(
            learning_rate(experiment, num_steps),
            experiment.momentum,
            experiment.nesterov,
            weight_decay=None if is_in_loss else decay or None,
            global_clipnorm=experiment.clipnorm or None,
            use_ema=experiment.ema > 0,
            ema_momentum=experiment.ema,
        ),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=experiment.label_smoothing
        ),
        metrics=[
            "accuracy",
            keras.metrics.TopKCategoricalAccuracy(
                min(5, dataset.num_classes), name="top_5"
            ),
        ],
        jit_compile=experiment.jit_compile or keras.backend.backend() == "jax",
        run_eagerly=experiment.eager,
    )
    return model


def learning_rate(experiment: Experiment, num_steps: int) -> Any:
    """Return the learning rate of an experiment, or its schedule."""
    rate = experiment.learning_rate
    if experiment.stable:
        decay_steps = num_steps - round(experiment.stable * num_steps)
        return WarmupStableDecay(rate, num_steps, decay_steps=decay_steps)
    if experiment.cosine_decay:
        return keras.optimizers.schedules.CosineDecay(rate, num_steps)
    return rate


def batches(
    experiment: Experiment,
    dataset: ImageDataset,
    labels: Any,
    seed: int = 0,
    epoch: int = 0,
) -> ImageBatches:
    """Return the batches to train on, from an epoch on.

    `labels` are the classes of the training images, including wrong ones.
    """
    images = dataset.train[0]
    changes, final_changes = AUGMENTATIONS[experiment.augmentation]
    arguments: dict[str, Any] = {
        "images": images,
        "labels": _one_hot(dataset, labels),
        "batch_size": experiment.batch_size,
        "changes": changes,
        "statistics": sources.statistics(experiment.standardize, images),
        "final_changes": final_changes,
        "seed": seed,
        "epoch": epoch,
        "workers": experiment.workers,
    }
    if experiment.mixup:
        return MixedBatches(alpha=experiment.mixup, **arguments)
    return ImageBatches(**arguments)


def _one_hot(dataset: ImageDataset, labels: Any) -> Any:
    return np.eye(dataset.num_classes, dtype="float32")[labels]
