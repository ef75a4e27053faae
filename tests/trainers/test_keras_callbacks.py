"""Every callback of Keras that needs no network works, and sees `sharpness`."""

import csv
import re

import keras
import numpy as np
import pytest

from tests import cases
from tests import training

callbacks = keras.callbacks

DENSE = cases.MODELS["dense"]


def fit(callback, epochs=4, y=DENSE.y, verbose=0, **arguments):
    """Return a model after `fit` with a callback, and its history."""
    keras.utils.set_random_seed(1)
    model = DENSE.build({"rho": 0.2})
    training.compile_model(model, DENSE, **arguments)
    history = model.fit(
        DENSE.x,
        y,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=verbose,
        callbacks=callback,
    )
    return model, history


class WeightsOfEpochs(callbacks.Callback):
    """Remembers the weights at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.model.get_weights())


def best(history):
    return int(np.argmin(history.history["sharpness"]))


def test_model_checkpoint_saves_the_model_of_least_sharpness(tmp_path):
    path = tmp_path / "best.keras"
    checkpoint = callbacks.ModelCheckpoint(
        path, monitor="sharpness", mode="min", save_best_only=True
    )
    weights = WeightsOfEpochs()
    _, history = fit([checkpoint, weights])
    loaded = keras.models.load_model(path)
    training.assert_same(loaded.get_weights(), weights.epochs[best(history)])
    assert loaded.sam.rho == 0.2


def test_model_checkpoint_saves_weights(tmp_path):
    path = tmp_path / "{epoch}-{sharpness:.3f}.weights.h5"
    checkpoint = callbacks.ModelCheckpoint(path, save_weights_only=True)
    weights = WeightsOfEpochs()
    model, history = fit([checkpoint, weights])
    for epoch, sharpness in enumerate(history.history["sharpness"]):
        name = f"{epoch + 1}-{sharpness:.3f}.weights.h5"
        model.load_weights(tmp_path / name)
        training.assert_same(model.get_weights(), weights.epochs[epoch])


def test_model_checkpoint_saves_every_few_batches(tmp_path):
    path = tmp_path / "{batch}.weights.h5"
    checkpoint = callbacks.ModelCheckpoint(
        path, save_weights_only=True, save_freq=2
    )
    fit([checkpoint], epochs=2)
    assert len(list(tmp_path.iterdir())) > 0


def test_early_stopping_restores_the_weights_of_least_sharpness():
    stopping = callbacks.EarlyStopping(
        monitor="sharpness", mode="min", patience=2, restore_best_weights=True
    )
    weights = WeightsOfEpochs()
    # A rate that is too large, so that the sharpness does not only fall.
    model, history = fit(
        [stopping, weights], 30, optimizer=keras.optimizers.SGD(3.0)
    )
    assert len(history.epoch) == best(history) + 3 < 30
    training.assert_same(model.get_weights(), weights.epochs[best(history)])


def test_the_learning_rate_is_reduced_on_a_plateau_of_sharpness():
    plateau = callbacks.ReduceLROnPlateau(
        monitor="sharpness", mode="min", factor=0.5, patience=1, min_delta=1e9
    )
    _, history = fit([plateau])
    rates = history.history["learning_rate"]
    # Halving is exact; 0.1 is rounded to float32.
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.05, 0.025], rtol=1e-6)


def test_a_learning_rate_scheduler_sets_the_rate_of_every_epoch():
    scheduler = callbacks.LearningRateScheduler(lambda epoch: 0.1 * (epoch < 2))
    weights = WeightsOfEpochs()
    fit([scheduler, weights], optimizer=keras.optimizers.SGD(0.5))
    assert np.any(weights.epochs[0][0] != weights.epochs[1][0])
    training.assert_same(weights.epochs[1], weights.epochs[3])


def test_csv_logger_has_a_column_of_sharpness(tmp_path):
    path = tmp_path / "log.csv"
    _, history = fit([callbacks.CSVLogger(path)])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for name in ("loss", "sharpness"):
        written = [float(row[name]) for row in rows]
        assert written == history.history[name]


def test_terminate_on_nan_stops_at_the_first_batch():
    y = np.full_like(cases.ONE_HOT, np.nan)
    batches = []
    counting = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: batches.append(batch)
    )
    _, history = fit(
        [callbacks.TerminateOnNaN(), counting],
        y=y,
        loss="mse",
        metrics=None,
        steps_per_execution=1,
    )
    assert batches == [0]
    assert len(history.epoch) <= 1


def test_batch_logs_have_the_mean_sharpness_so_far():
    seen = []
    collecting = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(logs["sharpness"])
    )
    _, history = fit([collecting], epochs=1)
    assert len(seen) == 3
    assert len(set(seen)) == 3
    assert seen[-1] == history.history["sharpness"][0]


@pytest.mark.parametrize("verbose", [1, 2])
def test_the_progress_bar_shows_sharpness(verbose, capsys):
    fit([], epochs=1, verbose=verbose)
    shown = re.findall(r"sharpness: (\S+)", capsys.readouterr().out)
    assert 0 < float(shown[-1]) < 1


def swapping():
    return [callbacks.SwapEMAWeights(swap_on_epoch=True)]


def averaging():
    return keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9)


def test_rho_0_is_plain_fit_with_averaged_weights():
    training.assert_equals_plain(
        DENSE,
        "sam",
        data="validation",
        optimizer=averaging,
        callbacks=swapping,
    )


def test_a_step_is_two_passes_with_averaged_weights():
    training.assert_equals_in_place(
        DENSE,
        "sam",
        data="validation",
        optimizer=averaging,
        callbacks=swapping,
        run_eagerly=True,
    )
