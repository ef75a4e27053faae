"""Trains on two devices: of one process, or of two that talk to each other.

Run by `test_processes.py` as `processes.py` for one process, and as
`processes.py ADDRESS NUMBER` for each of two. Prints weights and logs.
"""

import json
import os
import sys

os.environ["XLA_FLAGS"] = (
    f"--xla_force_host_platform_device_count={1 if len(sys.argv) > 1 else 2}"
)

import keras
import numpy as np
from keras import layers

import keras_sam

ADDRESS, NUMBER = sys.argv[1:] or (None, None)
BATCH_SIZE = 16  # of both devices
NUM_BATCHES = 3


def main() -> None:
    if ADDRESS:
        keras.distribution.initialize(ADDRESS, 2, int(NUMBER))
    keras.utils.set_random_seed(0)
    distribution = keras.distribution.DataParallel(
        devices=keras.distribution.list_devices("cpu"),
        auto_shard_dataset=False,
    )
    with distribution.scope():
        results = {method: train(method) for method in ("sam", "friendly_sam")}
    print(json.dumps(results))


def train(method):
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="tanh")(inputs)
    x = layers.BatchNormalization()(x)
    outputs = layers.Dense(3, activation="softmax")(layers.Dropout(0.2)(x))
    model = keras_sam.SAMModel(inputs, outputs, method=method)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    batches = own_batches()
    history = model.fit(
        *batches,
        batch_size=len(batches[0]) // NUM_BATCHES,
        shuffle=False,
        verbose=0,
    ).history
    weights = [w.astype("float64").ravel() for w in model.get_weights()]
    return {"weights": np.concatenate(weights).tolist(), "logs": history}


def own_batches():
    """Return the halves of the batches that this process is to see."""
    generator = np.random.default_rng(0)
    size = NUM_BATCHES * BATCH_SIZE
    arrays = (
        generator.normal(size=(size, 8)).astype("float32"),
        generator.integers(0, 3, size),
    )
    if not ADDRESS:
        return arrays
    half = BATCH_SIZE // 2
    rows = slice(int(NUMBER) * half, (int(NUMBER) + 1) * half)
    return tuple(
        np.concatenate([batch[rows] for batch in np.split(array, NUM_BATCHES)])
        for array in arrays
    )


if __name__ == "__main__":
    main()
