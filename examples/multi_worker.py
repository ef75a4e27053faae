r"""Train on several machines, and resume after any of them was killed.

Run one command for each worker. This is for two workers on one machine, in two
terminals; on several machines, use their addresses:

    TF_CONFIG='{"cluster": {"worker": ["localhost:12345", "localhost:23456"]},
        "task": {"type": "worker", "index": 0}}' \
        python examples/multi_worker.py --backup backup
    TF_CONFIG='{"cluster": {"worker": ["localhost:12345", "localhost:23456"]},
        "task": {"type": "worker", "index": 1}}' \
        python examples/multi_worker.py --backup backup

Trains a 64-256-10 network on the 1,797 handwritten digits of scikit-learn, 450
of them for testing, with SAM in batches of 64, of which each of two workers has
32 and perturbs by its own gradient. After each epoch every worker backs up its
model. The first worker writes the trained model and prints its accuracy.

If a worker is killed, the others fail within seconds. Start all of them again
with the same commands: they resume from the last backup of the first worker, in
a folder that all of them can read, and end with the weights of a run without
interruption. This requires the same order of examples in each epoch.

Expected is a clean test accuracy of about 98 %. On two CPU cores it takes one
to two minutes; `--smoke` trains for 4 epochs. Without `TF_CONFIG` there is one
worker.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_sam

BATCH_SIZE = 64  # Over all workers together.


def main():
    """Train as one worker of several."""
    options = parse_options()
    task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {})
    index = task.get("index", 0)
    # Before the workers connect, so that all of them copy the same backup.
    backup = backup_of(options.backup, index)

    keras.utils.set_random_seed(0)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = build_model()
    x_train, x_test, y_train, y_test = load_data()
    model.fit(
        x_train,
        y_train,
        batch_size=BATCH_SIZE,
        epochs=4 if options.smoke else options.epochs,
        shuffle=False,
        callbacks=[keras.callbacks.BackupAndRestore(backup)],
        verbose=2 if index == 0 else 0,
    )
    _, accuracy = model.evaluate(
        x_test, y_test, batch_size=BATCH_SIZE, verbose=0
    )
    if index == 0:
        model.save(options.output)
        print(f"clean test accuracy {100 * accuracy:.1f} %")


def backup_of(folder, index):
    """Return the backup folder of a worker, a copy of the first worker's.

    A kill may have left backups of different epochs.
    """
    own = folder / f"worker_{index}"
    first = folder / "worker_0"
    if index > 0:
        shutil.rmtree(own, ignore_errors=True)
        if first.exists():
            shutil.copytree(first, own)
    return str(own)


def build_model():
    """Return a compiled network of one hidden layer."""
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(256, activation="relu")(inputs)
    hidden = keras.layers.Dropout(0.2)(hidden)
    outputs = keras.layers.Dense(10, activation="softmax")(hidden)
    model = keras_sam.SAMModel(inputs, outputs, rho=0.1)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def load_data():
    """Return images and labels for training and testing."""
    x, y = load_digits(return_X_y=True)
    return train_test_split(
        x.astype("float32") / 16, y, test_size=450, random_state=0
    )


def parse_options():
    """Return the options on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backup", type=Path, default=Path("backup"))
    parser.add_argument("--output", default="multi_worker.keras")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
