"""Two threads that measure at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from keras import layers

from tests.sharpness import dense

PATIENCE = 60
"""Seconds until a waiting thread continues, so that a fault is no deadlock."""


class Pause(layers.Layer):
    """Calls a function in each pass, if it has one."""

    action = None

    def call(self, inputs):
        if self.action is not None:
            self.action()
        return inputs


def objective():
    """Return an objective with a normalization and attention after a pause."""
    pause = Pause()
    inputs = keras.Input((5, 4))
    x = layers.LayerNormalization()(layers.Dense(4)(pause(inputs)))
    x = x + layers.MultiHeadAttention(2, 3)(x, x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    generator = np.random.default_rng(0)
    data = generator.normal(size=(8, 5, 4)), generator.normal(size=(8, 5, 1))
    return pause, lambda: dense.objective(model, *data)


def test_each_has_its_own_second_derivatives():
    """The first one begins and ends first, while the second one is inside."""
    (first_pause, first), (second_pause, second) = objective(), objective()
    expected = [dense.hessian(make()) for make in (first, second)]
    measured = first(), second()
    first_inside, second_inside, first_done = (
        threading.Event() for _ in range(3)
    )
    first_pause.action = lambda: (
        first_inside.set(),
        second_inside.wait(PATIENCE),
    )
    second_pause.action = lambda: (
        second_inside.set(),
        first_done.wait(PATIENCE),
    )
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(dense.hessian, measured[0])
        one.add_done_callback(lambda _: first_done.set())
        assert first_inside.wait(PATIENCE)
        other = threads.submit(dense.hessian, measured[1])
        found = [one.result(), other.result()]
    for a, b in zip(found, expected):
        # As for closed forms.
        assert np.abs(a - b).max() < 5e-6 * np.abs(b).max()
