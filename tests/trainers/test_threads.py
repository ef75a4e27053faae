"""Two threads that train two models at once."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest
from keras import layers

import keras_sam
from tests import marks
from tests.arrays import assert_same
from tests.arrays import values
from tests.contract.twins import normal

PATIENCE = 60
"""Seconds until a thread goes on alone, so that a fault is no deadlock."""


class Meet(layers.Layer):
    """Waits in each pass, if it has something to wait for."""

    wait = None

    def call(self, inputs):
        if self.wait is not None:
            self.wait()
        return inputs


def built(seed, mode, **settings):
    keras.utils.set_random_seed(seed)
    meet = Meet()
    x = inputs = keras.Input((3,))
    for layer in (
        layers.Dense(4),
        layers.BatchNormalization(),
        meet,
        layers.Dropout(0.5, seed=seed),
        layers.Dense(1),
    ):
        x = layer(x)
    model = keras_sam.SAMModel(inputs, x, **settings)
    model.compile("adam", "mse", **mode)
    model.train_on_batch(normal(6, 3), normal(6, 1))
    return model, meet


def fit(model):
    logs = model.fit(
        normal(12, 3),
        normal(12, 1),
        batch_size=6,
        epochs=2,
        shuffle=False,
        verbose=0,
    )
    return logs.history, values([*model.variables, *model.optimizer.variables])


SETTINGS = (
    {"method": "friendly_sam", "rho": 0.1},
    {"method": "asam", "num_microbatches": 2},
)


@pytest.mark.parametrize("mode", marks.EAGER_AND_GRAPH)
def test_each_trains_as_if_alone(mode):
    """Run eagerly, each is inside of a pass whenever the other one is.

    One ends first: it has half as many passes.
    """
    expected = [fit(built(i, mode, **s)[0]) for i, s in enumerate(SETTINGS)]
    models, meets = zip(*[built(i, mode, **s) for i, s in enumerate(SETTINGS)])
    barrier = threading.Barrier(2)
    if mode.get("run_eagerly"):
        for meet in meets:
            meet.wait = lambda: wait(barrier)
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(fit, model) for model in models]
        for future in futures:
            future.add_done_callback(lambda _: barrier.abort())
        found = [future.result() for future in futures]
    for one, other in zip(found, expected, strict=True):
        assert one[0] == other[0]
        assert_same(one[1], other[1])


def wait(barrier):
    """Wait for the other thread, if it still trains."""
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait(PATIENCE)
