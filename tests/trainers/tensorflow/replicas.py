"""Trains on two replicas and on one device, and prints how they differ.

Run by `test_replicas.py` in a process of its own, because logical devices have
to be set up before TensorFlow starts.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tensorflow.python.distribute.distribute_utils import (
    TPU_VARIABLE_CLASS_MAPPING,
)

import keras_sam
from tests.methods import table
from tests.methods.table import METHODS
from tests.methods.table import NAMES

GLOBAL = tuple(name for name in NAMES if not METHODS[name].is_conditional)
"""Methods that "global" is not refused with."""
STATEFUL = tuple(name for name in NAMES if name in table.STATEFUL)

# Cases of `main`, by their special property: arguments of `build` on two
# replicas, and what differs on one device.
SPECIAL = {
    "several steps": ({"steps_per_execution": 2}, {"num_microbatches": 2}),
    "frozen batch norm": ({"norm": "frozen"}, {"num_microbatches": 2}),
    "synchronized batch norm": (
        {"norm": "synchronized", "perturbation": "global"},
        {"norm": "whole batch"},
    ),
}


def main() -> None:
    strategy = two_logical_devices()
    parts = {"methods": methods, "settings": settings}
    print(json.dumps(parts[sys.argv[1]](strategy)))


def methods(strategy):
    """Return what methods do with one perturbation, and on one device."""
    results = {}
    for method in GLOBAL:
        with strategy.scope():
            model = build(method=method, perturbation="global")
        logs = fit(model)
        alone = build(method=method)
        results[f"{method}, global"] = compare(model, logs, alone, fit(alone))
    return {"results": results}


def settings(strategy):
    """Return what else a model trains with on replicas."""
    results = {}
    for name, (arguments, other) in SPECIAL.items():
        with strategy.scope():
            model = build(**arguments)
        logs = fit(model)
        shared = {"method": arguments.get("method", "sam")}
        shared["norm"] = arguments.get("norm")
        alone = build(**{**shared, **other})
        results[name] = compare(model, logs, alone, fit(alone))
    with strategy.scope():
        refused = {
            "group": refusal(build(perturbation=2)),
            "ae_sam": refusal(build("ae_sam", perturbation="global")),
            "look_sam": refusal(build("look_sam", perturbation="global")),
            "accumulation": refusal(
                build(
                    optimizer=keras.optimizers.SGD(
                        0.1, gradient_accumulation_steps=2
                    )
                )
            ),
            "XLA": refusal(build(norm="synchronized", jit_compile=True)),
            "conditional": refusal(build("look_sam", norm="synchronized")),
        }
        collectives = {
            "plain": num_collectives(strategy, build(cls=keras.Model)),
            "sam": num_collectives(strategy, build()),
        }
    return {
        "results": results,
        "refused": refused,
        "collectives": collectives,
        "variables": {name: variables(strategy, name) for name in STATEFUL},
    }


def variables(strategy, method):
    """Return how replicas store the state of a `SAMModel`, and counts.

    And how they keep what Keras itself has of these kinds.
    """
    with strategy.scope():
        model = build(method, norm="whole batch", metrics=["accuracy"])
        model.build_method_state()
        statistics = model.layers[2].non_trainable_variables
        metric = keras.metrics.Mean().variables
    return {
        "method state": [kept(v) for v in model._sam.variables],
        "counted": [kept(v) for v in model._sam.tracker.variables],
        "statistics": kept(statistics[0]),
        "metric": kept(metric[0]),
    }


def kept(variable):
    """Return synchronization and aggregation of a variable.

    And whether `TPUStrategy` has a class for variables so synchronized.
    """
    value = variable.value
    is_known = value.synchronization in TPU_VARIABLE_CLASS_MAPPING
    return [value.synchronization.name, value.aggregation.name, is_known]


def two_logical_devices():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 8)).astype("float32")
    return x, generator.integers(0, 3, 96), generator.uniform(0.5, 2.0, 96)


def build(
    method="sam",
    jit_compile=False,
    steps_per_execution=1,
    metrics=(),
    optimizer=None,
    norm=None,
    cls=keras_sam.SAMModel,
    dropout=0.0,
    **arguments,
):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="tanh", kernel_regularizer="l2")(inputs)
    if norm:
        x = layers.BatchNormalization(
            trainable=norm != "frozen", synchronized=norm == "synchronized"
        )(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    outputs = layers.Dense(3, activation="softmax")(x)
    if cls is keras_sam.SAMModel:
        arguments["method"] = method
    model = cls(inputs, outputs, **arguments)
    model.compile(
        optimizer or keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=list(metrics),
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    return model


def fit(model, epochs=3, num_examples=96):
    x, y, weights = (array[:num_examples] for array in data())
    return model.fit(
        x,
        y,
        sample_weight=weights,
        batch_size=32,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    ).history


def compare(model, logs, alone, logs_alone):
    return {
        "weights": distance(model, alone),
        "logs": max(
            float(np.abs(np.subtract(logs[key], logs_alone[key])).max())
            for key in logs_alone
        ),
        "copies": copies(model.trainable_variables),
        "moved": float(np.abs(model.get_weights()[0]).max()),
    }


def num_collectives(strategy, model):
    """Return how many all-reduces the traced step of a model holds."""
    x, y, _ = data()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    batch = next(iter(strategy.experimental_distribute_dataset(dataset)))
    model.optimizer.build(model.trainable_variables)
    model.train_on_batch(x[:32], y[:32])
    step = tf.function(lambda b: strategy.run(model.train_step, args=(b,)))
    graph = step.get_concrete_function(batch).graph.as_graph_def()
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes += function.node_def
    return sum("Collective" in node.op for node in nodes)


def copies(variables):
    """Return by how much the copies of variables differ."""
    pairs = [[copy.numpy() for copy in v.value.values] for v in variables]
    return max(
        float(np.abs(a.astype("float64") - b.astype("float64")).max())
        for a, b in pairs
    )


def distance(first, second):
    return max(
        float(np.abs(a - b).max())
        for a, b in zip(first.get_weights(), second.get_weights())
    )


def refusal(model):
    try:
        fit(model)
    except NotImplementedError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
