r"""Measure the cost of a sharpness-aware step on one and on two replicas.

    python examples/benchmarks/distribution.py

For one and two logical CPUs, in graph mode and with XLA, the steps of a plain
and of a sharpness-aware model alternate in random order, in one process; the
ratio is the median of the ratios of the rounds, with its quartiles. "Plain" is
`keras.Model`. Only with XLA on two replicas, where that fails, it is a
`SAMModel` with `rho=0`: one pass, compiled on each replica in the same way.

The table also has the number of all-reduces in the traced step of both models:
they are equal, because a replica perturbs by its own gradient.

The network is 784-1024-1024-10, with 64 examples for each replica. Both logical
CPUs share the cores, so compare times only within a row.

It takes more than 3 minutes on two CPU cores. Expected: ratios of at most
2.05 and the same number of all-reduces; see README.md, "What a step costs".
"""

import argparse
import os
import random
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from report import print_table
from report import quartiles

import keras_sam
from keras_sam.experiments.memory import keep_freed_memory

tf.get_logger().setLevel("ERROR")

MODES = {"graph": False, "XLA": True}
BATCH_SIZE = 64  # of each replica
HEADER = (
    "replicas",
    "mode",
    "plain step",
    "SAM step",
    "ratio",
    "all-reduces, plain",
    "all-reduces, SAM",
)


def main():
    """Print the table."""
    options = parse_options()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    keep_freed_memory()
    strategies = {
        1: tf.distribute.get_strategy(),
        2: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    }
    print_table(
        HEADER,
        (
            [
                str(number),
                mode,
                *row_of(strategies[number], MODES[mode], options),
            ]
            for number in options.replicas
            for mode in options.modes
        ),
    )


def row_of(strategy, jit_compile, options):
    """Return the cells of one strategy and mode."""
    is_apart = jit_compile and strategy.num_replicas_in_sync > 1
    with strategy.scope():
        models = {
            "plain": build(
                options.width, jit_compile, 0.0 if is_apart else None
            ),
            "sam": build(options.width, jit_compile, 0.05),
        }
    data = data_of(strategy)
    counts = [
        str(num_collectives(strategy, model, data)) for model in models.values()
    ]
    iterators = {name: iter(data) for name in models}
    for name, model in models.items():
        seconds_per_step(model, iterators[name], 3)
    rounds = []
    for _ in range(options.rounds):
        order = random.sample(list(models), len(models))
        rounds.append({
            name: seconds_per_step(models[name], iterators[name], options.steps)
            for name in order
        })
    plain, sam = (
        1000 * np.median([r[name] for r in rounds]) for name in models
    )
    ratio = quartiles([r["sam"] / r["plain"] for r in rounds])
    return [f"{plain:.2f} ms", f"{sam:.2f} ms", ratio, *counts]


def build(width, jit_compile, rho):
    """Return a compiled network; a `keras.Model` if `rho` is `None`."""
    inputs = keras.Input((784,))
    x = keras.layers.Dense(width, activation="relu")(inputs)
    x = keras.layers.Dense(width, activation="relu")(x)
    outputs = keras.layers.Dense(10)(x)
    if rho is None:
        model = keras.Model(inputs, outputs)
    else:
        model = keras_sam.SAMModel(inputs, outputs, rho=rho)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def data_of(strategy):
    """Return an infinite distributed dataset."""
    size = BATCH_SIZE * strategy.num_replicas_in_sync
    generator = np.random.default_rng(0)
    x = generator.normal(size=(size, 784)).astype("float32")
    y = generator.integers(0, 10, size)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
    return strategy.experimental_distribute_dataset(data.cache().repeat())


def num_collectives(strategy, model, data):
    """Return the number of all-reduces in the traced step of a model."""
    batch = next(iter(data))
    local = strategy.experimental_local_results(batch[0])[0]
    labels = strategy.experimental_local_results(batch[1])[0]
    with strategy.scope():  # makes the variables of the metrics
        model.compute_metrics(local, labels, model(local))
    step = tf.function(lambda b: strategy.run(model.train_step, args=(b,)))
    graph = step.get_concrete_function(batch).graph.as_graph_def()
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes += function.node_def
    return sum(node.op.startswith("CollectiveReduce") for node in nodes)


def seconds_per_step(model, iterator, num_steps):
    """Return the seconds per step."""
    model.make_train_function()
    started = time.perf_counter()
    for _ in range(num_steps):
        model.train_function(iterator)
    model.trainable_variables[-1].numpy()
    return (time.perf_counter() - started) / num_steps


def parse_options():
    """Return the options on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--replicas", type=int, nargs="+", choices=(1, 2), default=(1, 2)
    )
    parser.add_argument(
        "--modes", nargs="+", choices=MODES, default=tuple(MODES)
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="per round")
    parser.add_argument("--smoke", action="store_true", help="a few seconds")
    options = parser.parse_args()
    options.width = 1024
    if options.smoke:
        options.rounds, options.steps, options.width = 2, 2, 32
    return options


if __name__ == "__main__":
    main()
