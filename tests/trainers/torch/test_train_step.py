"""A train step that a loop of one's own calls."""

import keras
import pytest
import torch

import keras_sam
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
