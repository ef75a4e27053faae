"""Prints how much the memory of this process grows while it trains.

Run by `test_memory.py` in a process of its own: the peak of another one would
hide what is lost here.
"""

import functools
import gc
import json
import resource
import sys

import keras
import numpy as np

import keras_sam
from tests import frameworks

UNITS = 128
"""Of a layer, whose weights are then 64 KB: far above what is measured."""

MODES = {"eager": {"run_eagerly": True}, "graph": frameworks.GRAPH}


MAKES = {
    "sharp": functools.partial(keras_sam.SAMModel, method="friendly_sam"),
    "plain": keras.Model,
}


def model(make, mode):
    inputs = keras.Input((UNITS,))
    outputs = keras.layers.Dense(UNITS)(inputs)
    return compiled(make(inputs, outputs), mode)


def compiled(model, mode):
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", **mode)
    return model


def fit(model, num_steps=1):
    x = np.ones((num_steps, UNITS), "float32")
    model.fit(x, x, batch_size=1, verbose=0)


def peak():
    """Return the most memory that there ever was, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def steps(make, mode):
    """Yield before and after 2,000 of 3,000 steps."""
    trained = model(make, mode)
    fit(trained, 1000)
    yield
    fit(trained, 2000)
    yield


def models(make, mode):
    """Yield before and after 30 of 40 models."""
    for count in (10, 30):
        for _ in range(count):
            fit(model(make, mode))
        yield


def recompilations(make, mode):
    """Yield before and after 30 of 40 recompilations of a model."""
    trained = model(make, mode)
    for count in (10, 30):
        for _ in range(count):
            fit(compiled(trained, mode))
        yield


RUNS = (steps, models, recompilations)


def main():
    what, kind, mode = sys.argv[1:]
    run = {f.__name__: f for f in RUNS}[what]
    found = []
    for _ in run(MAKES[kind], MODES[mode]):
        gc.collect()
        found.append((peak(), len(gc.get_objects())))
    (peak_before, before), (peak_after, after) = found
    print(
        json.dumps({"MB": peak_after - peak_before, "objects": after - before})
    )


if __name__ == "__main__":
    main()
