"""A train step that a loop of one's own calls."""

import keras
import torch

import keras_sam
from tests.contract.twins import normal


def test_train_step_makes_what_it_writes_after_each_compile():
    inputs = keras.Input((4,))
    model = keras_sam.SAMModel(inputs, keras.layers.Dense(1)(inputs))
    data = tuple(torch.from_numpy(normal(4, size)) for size in (4, 1))
    for metric in ("mae", "mape"):
        model.compile("sgd", "mse", metrics=[metric])
        logs = model.train_step(data)
        assert list(logs) == ["loss", metric, "sharpness"]
        assert float(logs[metric]) > 0
