"""Trainings drawn at random, against steps by hand."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import Phase
from hypothesis import given
from hypothesis import settings

from tests import frameworks
from tests.arrays import copy_state
from tests.random_settings.by_hand import by_hand
from tests.random_settings.setting import SETTINGS
from tests.training import state

EPOCHS = 2


def examples(number):
    """Return the settings of hypothesis, with which it always draws the same.

    Nothing is made smaller: a setting is readable as it is.
    """
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


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


def fit(model, setting, first_epoch=0, callbacks=()):
    """Return the logs of each epoch."""
    keras.utils.set_random_seed(2)
    history = model.fit(
        **setting.fit_arguments(),
        epochs=EPOCHS,
        initial_epoch=first_epoch,
        callbacks=list(callbacks),
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
            np.testing.assert_allclose(
                one, other, rtol=tolerance, atol=tolerance
            )


def sharpness(rises, num_epochs):
    """Return what is logged: the mean over the steps of an epoch."""
    found = []
    for epoch in np.split(np.array(rises), num_epochs):
        rise, is_sharp = epoch.sum(axis=0)
        found.append(rise / is_sharp if is_sharp else 0.0)
    return found


def check(setting, **arguments):
    model, expected = built(setting, **arguments), built_by_hand(setting)
    copy_state(expected, model)
    logs, expected_logs = fit(model, setting), fit(expected, setting)
    assert_close(state(model), state(expected), setting.policy)
    expected_logs["sharpness"] = sharpness(expected.by_hand.rises, EPOCHS)
    assert logs.keys() == expected_logs.keys()
    assert_close(
        [logs[key] for key in expected_logs],
        list(expected_logs.values()),
        setting.policy,
    )


@given(SETTINGS)
@examples(25)
def test_eager(setting):
    check(setting, run_eagerly=True)
