"""Run a script, and record the orders of two epochs of each `fit` in it.

    python tests/record_orders.py FILE SCRIPT [ARGUMENT ...]

FILE becomes a list, with the orders of both epochs for each call of `fit`. They
are drawn by Keras for a model that replaces the script's: the order depends on
the arguments of `fit` and on the seeds alone.
"""

import inspect
import json
import runpy
import sys
from pathlib import Path

import keras
import numpy as np

PASSED_ON = (
    "batch_size",
    "shuffle",
    "steps_per_epoch",
)


class Witness(keras.Model):
    """Trains nothing and records its examples."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x):
        return x

    def train_step(self, *arguments):
        *state, data = arguments
        x = keras.ops.convert_to_numpy(keras.tree.flatten(data)[0])
        self.seen += [row.tobytes() for row in np.asarray(x)]
        logs = {"loss": 0.0}
        return (logs, *state) if state else logs


def orders(x, y, **arguments):
    """Return the orders of two epochs, examples numbered by appearance."""
    witness = Witness()
    witness.compile("sgd", run_eagerly=True)
    witness.fit(x, y, epochs=2, verbose=0, **arguments)
    numbers = {}
    seen = [numbers.setdefault(row, len(numbers)) for row in witness.seen]
    middle = len(seen) // 2
    return seen[:middle], seen[middle:]


def main():
    """Run the script with a `fit` that records."""
    file, *sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    found = []
    fit = keras.Model.fit

    def recorded(self, *args, **kwargs):
        given = inspect.signature(fit).bind(self, *args, **kwargs).arguments
        passed_on = {k: given[k] for k in PASSED_ON if k in given}
        if not isinstance(self, Witness):
            found.append(orders(given["x"], given.get("y"), **passed_on))
            Path(file).write_text(json.dumps(found))
        return fit(self, *args, **kwargs)

    keras.Model.fit = recorded
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
