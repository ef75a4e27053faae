"""The one recipe: data, model, fit, record."""

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
from keras_sam.experiments import logs
from keras_sam.experiments import networks
from keras_sam.experiments import records
from keras_sam.experiments import sources
from keras_sam.experiments.augmentations import AUGMENTATIONS
from keras_sam.experiments.config import Experiment
from keras_sam.experiments.mixing import MixedBatches
from keras_sam.experiments.mixing import bootstrapped_labels
from keras_sam.experiments.spectrum import Eigenvalues
from keras_sam.experiments.spectrum import measurements


def run(
    experiment: Experiment,
    folder: Path,
    command: str = "",
    verbose: int = 2,
    file: Path | None = None,
) -> list[records.Record]:
    """Train an experiment for each of its seeds that has no record yet.

    What was stopped goes on after the last epoch that was finished.

    Args:
        experiment: `Experiment`.
        folder: Holds a folder for each run with its logs.
        command: What was typed, for the record.
        verbose: As for `fit`. Defaults to 2, a line for each epoch.
        file: Of the records, a line for each run. Defaults to `records.jsonl`
            in `folder`.

    Returns:
        The new records.
    """
    file = file or folder / "records.jsonl"
    done = records.finished(records.read(file), experiment)
    missing = [seed for seed in experiment.seeds if seed not in done]
    if not missing:
        return []
    dataset = sources.load(experiment)
    new = []
    for seed in missing:
        run_dir = folder / experiment.name / records.digest(experiment, seed)
        metrics = train(experiment, dataset, seed, run_dir, verbose)
        new.append(records.make(experiment, seed, metrics, command))
        records.append(file, new[-1])
        for leftover in (*run_dir.rglob("*.h5"), *run_dir.glob("*.npy")):
            leftover.unlink()
    return new


def train(
    experiment: Experiment,
    dataset: ImageDataset,
    seed: int,
    run_dir: Path,
    verbose: int = 0,
) -> dict[str, Any]:
    """Train once and return what came out.

    Args:
        experiment: `Experiment`.
        dataset: `ImageDataset`.
        seed: Integer: of initial weights, order, augmentation and noise.
        run_dir: Folder for logs and what a stopped run needs to go on.
        verbose: As for `fit`.

    Returns:
        Metrics by name; errors are in per cent.
    """
    start = time.perf_counter()
    run_dir.mkdir(parents=True, exist_ok=True)
    labels = dataset.train[1]
    if experiment.label_noise:
        labels = symmetric_noise(
            labels,
            experiment.label_noise,
            dataset.num_classes,
            seed,
            experiment.include_own,
        ).labels
    if experiment.bootstrap:
        labels = _bootstrapped(experiment, dataset, labels, seed, run_dir)
    model = _fitted(experiment, dataset, labels, seed, run_dir, verbose)
    error, top_5_error = _test_errors(experiment, dataset, model)
    history = logs.read(run_dir)
    spectrum = {}
    if experiment.spectrum:
        x, y = _measured_on(experiment, dataset, labels)
        spectrum = measurements(model, run_dir, experiment.spectrum, x, y)
    return {
        "error": error,
        "top_5_error": top_5_error,
        "wrong_labels": 100 * float(np.mean(labels != dataset.train[1])),
        "loss": history[-1]["loss"],
        "train_error": 100 - 100 * history[-1]["accuracy"],
        "sharpness": history[-1]["sharpness"],
        "step_seconds": float(np.median([e["step_seconds"] for e in history])),
        "seconds": time.perf_counter() - start,
        "num_train": len(labels),
        "num_test": len(dataset.test[1]),
        "num_weights": model.count_params(),
        **spectrum,
    }


def _bootstrapped(
    experiment: Experiment,
    dataset: ImageDataset,
    labels: Any,
    seed: int,
    run_dir: Path,
) -> Any:
    """Return the labels that a network trained on `labels` predicts."""
    file = run_dir / "bootstrapped.npy"
    if not file.exists():
        images = dataset.train[0]
        first = run_dir / "first"
        model = _fitted(experiment, dataset, labels, seed, first, 0)
        statistics = sources.statistics(experiment.standardize, images)
        made = bootstrapped_labels(
            model, images, statistics, experiment.batch_size
        )
        written = file.with_suffix(".part.npy")
        np.save(written, made)
        written.rename(file)
    return np.load(file)


def _fitted(
    experiment: Experiment,
    dataset: ImageDataset,
    labels: Any,
    seed: int,
    run_dir: Path,
    verbose: int,
) -> keras.Model:
    """Return the network after the last epoch."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    one_hot = np.eye(dataset.num_classes, dtype="float32")[labels]
    with strategies.scope(experiment.strategy):
        steps = -(-len(labels) // experiment.batch_size)
        model = compiled(experiment, dataset, experiment.num_epochs * steps)
        epoch = logs.restore(model, run_dir)
        data = batches(experiment, dataset.train[0], one_hot, seed, epoch)
        callbacks = logs.callbacks(run_dir)
        if experiment.spectrum:
            x, y = _measured_on(experiment, dataset, labels)
            callbacks.insert(0, Eigenvalues(run_dir, experiment.spectrum, x, y))
        # `fit` would draw batches to build the model; see `ImageBatches`.
        model.test_on_batch(*data[0])
        model.fit(
            data,
            epochs=experiment.num_epochs,
            initial_epoch=epoch,
            shuffle=False,
            verbose=verbose,
            callbacks=callbacks,
        )
    return model


def _measured_on(
    experiment: Experiment, dataset: ImageDataset, labels: Any
) -> tuple[Any, Any]:
    """Return the examples that the spectrum is measured on."""
    images = dataset.train[0]
    statistics = sources.statistics(experiment.standardize, images)
    one_hot = np.eye(dataset.num_classes, dtype="float32")[labels[:1000]]
    return standardized(images[:1000], statistics), one_hot


def compiled(
    experiment: Experiment, dataset: ImageDataset, num_steps: int
) -> keras.Model:
    """Return the network, ready to be trained.

    Args:
        experiment: `Experiment`.
        dataset: `ImageDataset`.
        num_steps: Integer, the steps after which a learning rate that decays
            is 0.

    Returns:
        `SAMModel` that gives logits.
    """
    shape = dataset.train[0].shape[1:]
    if experiment.weights:
        backbone = networks.pretrained(
            experiment.network, experiment.weights, shape
        )
        network = networks.fine_tuned(backbone, dataset.num_classes)
    else:
        network = networks.build(
            experiment.network,
            experiment.depth,
            experiment.width,
            dataset.num_classes,
            shape,
        )
    decay = experiment.weight_decay
    is_in_loss = decay and not experiment.decoupled
    penalty = keras.regularizers.L2(decay / 2) if is_in_loss else None
    for variable in network.trainable_variables:
        variable.regularizer = penalty
    rate: Any = experiment.learning_rate
    if experiment.cosine_decay:
        rate = keras.optimizers.schedules.CosineDecay(rate, num_steps)
    model = keras_sam.SAMModel.from_model(network, **experiment.sam)
    model.compile(
        keras.optimizers.SGD(
            rate,
            experiment.momentum,
            experiment.nesterov,
            weight_decay=None if is_in_loss else decay or None,
            global_clipnorm=experiment.clipnorm or None,
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


def batches(
    experiment: Experiment, images: Any, labels: Any, seed: int, epoch: int
) -> ImageBatches:
    """Return the batches that a network is trained on.

    Args:
        experiment: `Experiment`.
        images: Array of bytes of shape `(num_images, height, width,
            channels)`.
        labels: Array of shape `(num_images, num_classes)`.
        seed: Integer.
        epoch: Integer, the epoch to begin with.

    Returns:
        `ImageBatches`.
    """
    changes, final_changes = AUGMENTATIONS[experiment.augmentation]
    arguments: dict[str, Any] = {
        "images": images,
        "labels": labels,
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


def _test_errors(
    experiment: Experiment, dataset: ImageDataset, model: keras.Model
) -> tuple[float, float]:
    """Return the errors on the test images in per cent, top 1 and top 5."""
    images, labels = dataset.test
    batches = ImageBatches(
        images,
        np.eye(dataset.num_classes, dtype="float32")[labels],
        experiment.batch_size,
        statistics=sources.statistics(experiment.standardize, dataset.train[0]),
        workers=experiment.workers,
    )
    metrics = model.evaluate(batches, verbose=0, return_dict=True)
    return 100 - 100 * metrics["accuracy"], 100 - 100 * metrics["top_5"]
