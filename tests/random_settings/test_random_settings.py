"""Trainings drawn at random, against steps by hand."""

import os
import shutil

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import Phase
from hypothesis import given
from hypothesis import seed
from hypothesis import settings

import keras_sam
from tests import frameworks
from tests import marks
from tests.arrays import assert_same
from tests.arrays import copy_state
from tests.arrays import values
from tests.methods.table import METHODS
from tests.random_settings.by_hand import by_hand
from tests.random_settings.setting import settings_of

EPOCHS = 2

NUM_SETTINGS = int(os.environ.get("KERAS_SAM_TEST_SETTINGS", "15"))
"""How many settings of each method the slow tests draw."""


def built(setting, **arguments):
    """Return the compiled `SAMModel` of a setting."""
    keras.config.set_dtype_policy(setting.policy)
    keras.utils.set_random_seed(1)
    model = setting.network.build(setting.arguments, setting.is_adopted)
    setting.compile(
        model, steps_per_execution=setting.steps_per_execution, **arguments
    )
    return model


def built_by_hand(setting):
    """Return the same as a plain model, to be trained by hand."""
    keras.config.set_dtype_policy(setting.policy)
    keras.utils.set_random_seed(1)
    model = setting.network.build()
    setting.compile(model, run_eagerly=True)
    return by_hand(model, setting.recipe)


def fit(model, setting, *callbacks):
    """Return the logs of each epoch."""
    history = model.fit(
        **setting.fit_arguments(), epochs=EPOCHS, callbacks=list(callbacks)
    )
    return history.history


TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 3e-2, "mixed_float16": 5e-3}


def assert_close(found, expected, policy):
    tolerance = TOLERANCE[policy]
    for one, other in zip(found, expected, strict=True):
        if np.issubdtype(np.asarray(other).dtype, np.integer):
            np.testing.assert_array_equal(one, other)
        else:
            one, other = (np.asarray(a, "float64") for a in (one, other))
            assert np.isfinite(one).all()
            np.testing.assert_allclose(one, other, tolerance, tolerance)


def sharpness(rises):
    """Return what is logged: the mean over the steps of an epoch."""
    found = []
    for epoch in np.split(np.array(rises), EPOCHS):
        rise, is_sharp = epoch.sum(axis=0)
        found.append(rise / is_sharp if is_sharp else 0.0)
    return found


class Traces(keras.callbacks.Callback):
    """Counts how often the Python code of a model ran until each epoch."""

    def on_train_begin(self, logs=None):
        self.counts = []

    def on_epoch_end(self, epoch, logs=None):
        self.counts.append(self.model.get_layer("traced").count)


class Interrupted(keras.callbacks.Callback):
    """Copies what a kill in the middle of the second epoch would leave."""

    def __init__(self, folder, copy):
        super().__init__()
        self.folder, self.copy = folder, copy

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and not self.copy.exists():
            shutil.copytree(self.folder, self.copy)


def trained(model):
    """Return what training of the plain model changes."""
    variables = [*model.variables, *model.optimizer.variables]
    if isinstance(model, keras_sam.SAMModel):
        own = {id(variable) for variable in model._sam.variables}
        variables = [v for v in variables if id(v) not in own]
    return values(variables)


def kept(model):
    """Return all that a file is to hold."""
    model.build_method_state()  # No step does if the radius is always 0.
    return values([*model.variables, *model.optimizer.variables])


def check(setting, folder, **arguments):
    """Train with a setting, by hand, and with an interruption."""
    model, expected = built(setting, **arguments), built_by_hand(setting)
    copy_state(expected, model)
    traces, backup, left = Traces(), folder / "backup", folder / "left"
    interrupted = backed_up(backup), Interrupted(backup, left)
    logs = fit(model, setting, traces, *interrupted)
    expected_logs = fit(expected, setting)
    expected_logs["sharpness"] = sharpness(expected.by_hand.rises)
    if "run_eagerly" not in arguments:
        # Which Keras weighs by the size of a batch if it is known.
        for name in ("kind_loss", "size_loss"):
            logs.pop(name, None), expected_logs.pop(name, None)
        assert traces.counts[0] == traces.counts[1]
    assert logs.keys() == expected_logs.keys()
    names = sorted(logs)
    assert_close(
        [*trained(model), *[logs[name] for name in names]],
        [*trained(expected), *[expected_logs[name] for name in names]],
        setting.policy,
    )
    resumed = built(setting, **arguments)
    assert len(fit(resumed, setting, backed_up(left))["loss"]) == 1
    assert_same(kept(resumed), kept(model))
    check_saved(model, setting, folder)


def backed_up(folder):
    return keras.callbacks.BackupAndRestore(folder)


def check_saved(model, setting, folder):
    """Assert that a file holds all of a model."""
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    assert loaded.sam.get_config() == model.sam.get_config()
    assert_same(kept(loaded), kept(model))
    x = setting.fit_arguments()["x"]
    assert_same(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def check_many(method, number, start, folders, **arguments):
    """Check so many settings of a method, always the same ones.

    Args:
        method: A key of `METHODS`.
        number: How many settings.
        start: What the draws start from: another number, other settings.
        folders: `tmp_path_factory`.
        **arguments: For `compile`.
    """

    # Nothing is made smaller: a setting is readable as it is.
    @seed(100 * start + list(METHODS).index(method))
    @given(settings_of(method))
    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(setting):
        check(setting, folders.mktemp("setting"), **arguments)

    run()


@pytest.mark.parametrize("method", METHODS)
def test_a_training_is_that_by_hand(method, tmp_path_factory):
    check_many(method, 1, 1, tmp_path_factory, run_eagerly=True)


@marks.slow
@pytest.mark.parametrize("method", METHODS)
def test_more_trainings_are_those_by_hand(method, tmp_path_factory):
    check_many(method, NUM_SETTINGS, 2, tmp_path_factory, run_eagerly=True)


@marks.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_training_is_that_by_hand(method, tmp_path_factory):
    number = max(NUM_SETTINGS // 5, 1)
    check_many(method, number, 3, tmp_path_factory, **frameworks.GRAPH)
