"""Trains with every method on one backend, or resumes from files of others.

    python -m tests.agreement.train FOLDER NAME
    python -m tests.agreement.train FOLDER NAME EARLIER ...

The first writes `NAME.npz`, for each method the weights, the loss and the
sharpness after each of 50 steps, and for each method a file of the model after
half of them. The second resumes from such files, by the names that other
processes wrote them under, for the other half of the steps, and writes
`NAME-resumed.npz`, for each the weights under `METHOD/EARLIER`.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from tests import small_network
from tests.methods.table import METHODS
from tests.methods.table import MOMENTUM
from tests.small_network import GRAPH

NUM_EXAMPLES = 25  # Five batches.
EPOCHS = 10


def train(folder, name):
    results = {}
    for method_name in METHODS:
        model = small_network.of_method(method_name, GRAPH, MOMENTUM)
        first = fit(model)
        model.save(folder / f"{name}-{method_name}.keras")
        second = fit(model)
        for key in first:
            results[f"{method_name}/{key}"] = np.concatenate([
                first[key],
                second[key],
            ])
    np.savez(folder / f"{name}.npz", **results)


def resume(folder, name, earlier):
    results = {}
    for method_name in METHODS:
        for other in earlier:
            model = keras.models.load_model(
                folder / f"{other}-{method_name}.keras"
            )
            model.jit_compile = GRAPH["jit_compile"]  # Not as on the other.
            resumed = fit(model)
            results[f"{method_name}/{other}"] = resumed["weights"]
    np.savez(folder / f"{name}-resumed.npz", **results)


def fit(model):
    """Train for half of the epochs; return weights and logs of each step."""
    recorder = small_network.fit(model, EPOCHS // 2, NUM_EXAMPLES)
    return {
        "weights": np.array(recorder.weights),
        **{
            key: np.array([logs[key] for logs in recorder.logs])
            for key in ("loss", "sharpness")
        },
    }


if __name__ == "__main__":
    folder, name, *earlier = sys.argv[1:]
    if earlier:
        resume(Path(folder), name, earlier)
    else:
        train(Path(folder), name)
