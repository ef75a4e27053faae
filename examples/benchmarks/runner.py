r"""Measure the overhead of `keras_sam.experiments` over bare training steps.

    python examples/benchmarks/runner.py --folder FOLDER

A SAM step of a ResNet on CIFAR-10 with flips and crops, with a learning rate of
0 so that both do the same work in every round. "bare" is the compiled step on
one batch in memory; "runner" is the time of a step in the log of the runner:
`fit` with its batches, callbacks, log and checkpoint. Rounds of both alternate
in one process; the ratio is the median of the ratios of the rounds, with its
quartiles.

FOLDER has strips of CIFAR-10, see `keras_sam.data.from_strips`; without it, the
digits are used, on which a step is so short that the overhead is visible.

It takes about 9 minutes on two CPU cores. Expected: a ratio of at most 1.05.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from report import print_table
from report import quartiles

from keras_sam.experiments import logs
from keras_sam.experiments import paper
from keras_sam.experiments import sources
from keras_sam.experiments.memory import keep_freed_memory
from keras_sam.experiments.run import batches
from keras_sam.experiments.run import compiled


def measure(experiment, num_rounds):
    """Return the seconds per step of each round: bare, and in the runner."""
    dataset = sources.load(experiment)
    labels = dataset.train[1]
    model = compiled(experiment, dataset, num_steps=1)
    data = batches(experiment, dataset, labels)
    bare = iter(tf.data.Dataset.from_tensors(data[0]).cache().repeat())

    def run_bare():
        started = time.perf_counter()
        for _ in range(len(data)):
            model.train_function(bare)
        model.trainable_variables[-1].numpy()
        return (time.perf_counter() - started) / len(data)

    def run_in_runner():
        with tempfile.TemporaryDirectory() as folder:
            model.fit(
                batches(experiment, dataset, labels),
                epochs=2,
                shuffle=False,
                verbose=0,
                callbacks=logs.callbacks(Path(folder)),
            )
            return logs.read(Path(folder))[-1]["step_seconds"]

    run_in_runner()
    run_bare()
    return [(run_bare(), run_in_runner()) for _ in range(num_rounds)]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", help="strips of CIFAR-10")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--smoke", action="store_true", help="digits, short")
    arguments = parser.parse_args()
    keep_freed_memory()
    source = ["source=digits", "augmentation=small_crop", "num_train=1024"]
    if arguments.folder and not arguments.smoke:
        source = [
            "source=strips",
            f"folder={arguments.folder}",
            "num_train=2048",
        ]
    experiment = paper.EXPERIMENTS["label-noise-40/sam"].with_settings([
        *source,
        "depth=8",
        "width=8",
        "batch_size=128",
        "learning_rate=0",
    ])
    rounds = measure(experiment, 1 if arguments.smoke else arguments.rounds)
    bare, runner = (1000 * statistics.median(part) for part in zip(*rounds))
    ratio = quartiles([in_runner / alone for alone, in_runner in rounds])
    print_table(
        ("bare step", "step in the runner", "ratio"),
        [(f"{bare:.2f} ms", f"{runner:.2f} ms", ratio)],
    )


if __name__ == "__main__":
    main()
