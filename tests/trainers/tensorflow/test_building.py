"""The private method by which `fit` builds a model on TensorFlow."""

import keras
import numpy as np


def test_maybe_symbolic_build_is_how_fit_builds(monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    calls = []
    monkeypatch.setattr(
        model,
        "_maybe_symbolic_build",
        lambda iterator=None, data_batch=None: calls.append(iterator),
    )
    model.fit(np.zeros((1, 2)), np.zeros((1, 1)), verbose=0)
    assert len(calls) == 1
    assert calls[0] is not None
