"""A train step that a loop of one's own calls."""

import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import torch

import keras_sam
from tests.contract.twins import Scale
from tests.contract.twins import mean_prediction
from tests.contract.twins import normal
from tests.methods.table import NAMES


def test_train_step_makes_what_it_writes_after_each_compile():
    inputs = keras.Input((4,))
    model = keras_sam.SAMModel(inputs, keras.layers.Dense(1)(inputs))
    data = tuple(torch.from_numpy(normal(4, size)) for size in (4, 1))
    for metric in ("mae", "mape"):
        model.compile("sgd", "mse", metrics=[metric])
        logs = model.train_step(data)
        assert list(logs) == ["loss", metric, "sharpness"]
        assert float(logs[metric]) > 0


@pytest.mark.parametrize("method", NAMES)
def test_train_step_makes_what_a_method_stores(method):
    inputs = keras.Input((4,))
    model = keras_sam.SAMModel(
        inputs, keras.layers.Dense(1)(inputs), method=method
    )
    model.compile("sgd", "mse")
    data = tuple(torch.from_numpy(normal(4, size)) for size in (4, 1))
    for _ in range(2):
        logs = model.train_step(data)
    assert torch.isfinite(logs["sharpness"])
    assert bool(model._sam.variables) == model.sam.method.has_state


class Wait(keras.layers.Layer):
    """Lets the other threads run in the middle of a pass."""

    def call(self, inputs):
        time.sleep(0.005)
        return inputs


def sharpness_of_dropout(num_steps):
    """Return by how much a loss w * mean(z), w = 1, rises in each step.

    With e = 0.5 that is half of itself, if z is the same in both passes.
    """
    inputs = keras.Input((50,))
    hidden = keras.layers.Dropout(0.5)(Wait()(inputs))
    hidden = keras.layers.Dropout(0.5)(Wait()(hidden))
    model = keras_sam.SAMModel(inputs, Scale()(hidden), rho=0.5)
    model.compile(keras.optimizers.SGD(0.0), mean_prediction)
    x = np.ones((8, 50))
    found = []
    for _ in range(num_steps):
        logs = model.train_on_batch(x, x, return_dict=True)
        found.append(logs["sharpness"] / logs["loss"])
        model.reset_metrics()
    return found


def test_threads_draw_the_same_masks_in_both_passes_without_a_seed():
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(sharpness_of_dropout, 8) for _ in range(2)]
        found = [ratio for future in futures for ratio in future.result()]
    assert found == pytest.approx(16 * [0.5], rel=1e-5)
