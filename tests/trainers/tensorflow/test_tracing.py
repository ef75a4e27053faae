"""A step is one program, traced once."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.optimizers.schedules import PiecewiseConstantDecay

import keras_sam
from keras_sam.engine.step import Step
from tests import cases
from tests import models
from tests.engine.test_plain import Traced
from tests.methods.table import NAMES


@pytest.mark.parametrize(
    ("settings", "jit_compile"),
    [
        ({}, True),
        ({}, False),
        ({"rho": 0.0}, False),
        ({"rho": PiecewiseConstantDecay([4], [0.0, 0.5])}, False),
        ({"num_microbatches": 2}, False),
        ({"ascent_fraction": 0.5}, False),
    ],
)
def test_step_is_traced_once(settings, jit_compile):
    traced = Traced()
    inputs = keras.Input((5,))
    outputs = layers.Dense(1)(traced(inputs))
    model = keras_sam.SAMModel(inputs, outputs, **settings)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    counts = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: counts.append(traced.count)
    )
    x, y = np.zeros((12, 5)), np.zeros((12, 1))
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[count])
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[count])
    assert len(counts) == 12
    assert len(set(counts)) == 1
    assert counts[0] > 0


@pytest.mark.parametrize("build", [models.dense, models.unbuilt_sequential])
@pytest.mark.parametrize("method", NAMES)
def test_what_a_step_writes_is_made_before_its_only_trace(
    build, method, monkeypatch
):
    """Of method, optimizer, loss and metrics, and of the model itself."""
    make, steps = Step.__init__, []

    def counted(step, *args, **kwargs):
        steps.append(step)
        make(step, *args, **kwargs)

    monkeypatch.setattr(Step, "__init__", counted)
    model = build({"method": method})
    model.compile(
        "adam",
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.fit(cases.FEATURES, cases.CLASSES, batch_size=10, verbose=0)
    assert len(steps) == 1
    assert int(model.optimizer.iterations) == 2


def test_ragged_last_batch_does_not_trace_again():
    traced = Traced()
    inputs = keras.Input((5,))
    model = keras_sam.SAMModel(inputs, layers.Dense(1)(traced(inputs)))
    model.compile("sgd", "mse", jit_compile=False)
    x, y = np.zeros((11, 5)), np.zeros((11, 1))
    model.fit(x, y, batch_size=4, verbose=0)
    first = traced.count
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert traced.count == first
