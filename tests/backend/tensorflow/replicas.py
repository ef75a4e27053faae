"""Trains on two replicas and on one device, and prints how they differ.

Run by `test_replicas.py` in a process of its own, because logical devices have
to be set up before TensorFlow starts.
"""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_sam

METHODS = (
    "sam",
    "asam",
    "gsam",
    "weighted_sam",
    "friendly_sam",
    "vasso",
    "stable_sam",
    "momentum_sam",
    "ae_sam",
)


def main() -> None:
    strategy = two_logical_devices()
    results = {}
    for method in METHODS:
        for perturbation, parts in (("replica", 2), ("global", 1)):
            if (method, perturbation) == ("ae_sam", "global"):
                continue  # Refused: see below.
            with strategy.scope():
                model = build(method=method, perturbation=perturbation)
            logs = fit(model)
            alone = build(method=method, num_microbatches=parts)
            results[f"{method}, {perturbation}"] = compare(
                model, logs, alone, fit(alone)
            )
    with strategy.scope():
        refused = {
            "group": refusal(build(perturbation=2)),
            "ae_sam": refusal(build("ae_sam", perturbation="global")),
            "look_sam": refusal(build("look_sam", perturbation="global")),
        }
    print(json.dumps({"results": results, "refused": refused}))


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
    **arguments,
):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="tanh", kernel_regularizer="l2")(inputs)
    outputs = layers.Dense(3, activation="softmax")(x)
    model = keras_sam.SAMModel(inputs, outputs, method=method, **arguments)
    model.compile(
        optimizer or keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=list(metrics),
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    return model


def fit(model):
    x, y, weights = data()
    return model.fit(
        x,
        y,
        sample_weight=weights,
        batch_size=32,
        epochs=3,
        shuffle=False,
        verbose=0,
    ).history


def compare(model, logs, alone, logs_alone):
    copies = [
        [value.numpy() for value in v.value.values]
        for v in model.trainable_variables
    ]
    return {
        "weights": max(
            float(np.abs(a - b).max())
            for a, b in zip(model.get_weights(), alone.get_weights())
        ),
        "logs": max(
            float(np.abs(np.subtract(logs[key], logs_alone[key])).max())
            for key in logs_alone
        ),
        "copies": max(float(np.abs(a - b).max()) for a, b in copies),
        "moved": float(np.abs(model.get_weights()[0]).max()),
    }


def refusal(model):
    try:
        fit(model)
    except NotImplementedError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
