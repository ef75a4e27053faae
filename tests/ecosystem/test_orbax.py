"""Checkpoints of Orbax, from which a run resumes as if never stopped."""

import keras
import pytest

from tests import training
from tests.ecosystem import small
from tests.methods import table


def fit(model, epochs, initial_epoch=0, callbacks=()):
    model.fit(
        small.X,
        small.Y,
        batch_size=8,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model


def new(method):
    keras.utils.set_random_seed(1)
    return small.model(method=table.METHODS[method].method, rho=0.1)


def assert_same(model, other):
    training.assert_same(*(training.state(m) for m in (model, other)))
    training.assert_same(
        *(training.values(m.variables) for m in (model, other))
    )


@pytest.mark.parametrize("method", ["sam", "friendly_sam", "look_sam"])
def test_a_run_resumes_from_a_checkpoint(method, tmp_path):
    expected = fit(new(method), 3)
    checkpoint = keras.callbacks.OrbaxCheckpoint(tmp_path, save_freq="epoch")
    fit(new(method), 2, callbacks=[checkpoint])
    checkpoint.wait_until_finished()
    loaded = keras.saving.load_model(tmp_path)
    assert_same(fit(loaded, 3, initial_epoch=2), expected)


@pytest.mark.parametrize("method", ["friendly_sam", "look_sam"])
def test_weights_are_loaded_with_the_method_state(method, tmp_path):
    expected = fit(new(method), 3)
    checkpoint = keras.callbacks.OrbaxCheckpoint(tmp_path, save_freq="epoch")
    fit(new(method), 2, callbacks=[checkpoint])
    checkpoint.wait_until_finished()
    model = new(method)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(tmp_path)
    assert_same(fit(model, 3, initial_epoch=2), expected)
