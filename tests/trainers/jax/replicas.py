"""Trains on four devices and on one, and prints how the results differ.

Run by `test_replicas.py` in a process of its own, because the number of
devices has to be set before JAX starts.
"""

import contextlib
import json
import os
import re

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import keras
import numpy as np
from keras import layers

import keras_sam

BATCH_SIZE = 32

CASES = {
    "gsam, replica": (
        {"method": "gsam"},
        {"num_microbatches": 4, "method": "gsam"},
    ),
    "groups of two": (
        {"method": "gsam", "perturbation": 2},
        {"method": "gsam", "num_microbatches": 2},
    ),
    "global": (
        {"method": "vasso", "perturbation": "global"},
        {"method": "vasso"},
    ),
    "micro-batches": (
        {"num_microbatches": 2, "ascent_fraction": 0.5},
        {"num_microbatches": 8, "ascent_fraction": 0.5},
    ),
}
"""Arguments on four devices, and on one device for the same result."""


def main() -> None:
    devices = keras.distribution.list_devices("cpu")
    data_parallel = keras.distribution.DataParallel(devices=devices)
    results = {}
    for name, (many, one) in CASES.items():
        with data_parallel.scope():
            model = build(**many)
            logs = fit(model)
        alone = build(**one)
        results[name] = compare(model, logs, alone, fit(alone))
    with data_parallel.scope():
        masked = build_masked()
        logs = fit(masked, *masked_data())
    alone = build_masked(num_microbatches=4)
    alone_logs = fit(alone, *masked_data())
    results["masks"] = compare(masked, logs, alone, alone_logs)
    results["model_parallel"] = compare_model_parallel(devices)
    results["layouts of outputs"] = compare_model_parallel(
        devices, {"first/output": ("batch", "model"), "output": ("batch", None)}
    )
    print(
        json.dumps({
            "results": results,
            "statistics": statistics(data_parallel),
            "refused": refusal(data_parallel),
            "lengths": refusal_of_lengths(data_parallel),
            "dropout": dropout(data_parallel),
            "reductions": {
                str(perturbation): reductions(data_parallel, perturbation)
                for perturbation in (None, "replica", "global", 2)
            },
        })
    )


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 8)).astype("float32")
    return x, generator.integers(0, 3, 96), generator.uniform(0.5, 2.0, 96)


def build(**arguments):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="tanh", kernel_regularizer="l2")(inputs)
    outputs = layers.Dense(3, activation="softmax")(x)
    return compiled(keras_sam.SAMModel(inputs, outputs, **arguments))


def compiled(model):
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def masked_data():
    """Return sequences of 1 to 5 tokens, the short ones in the first shard."""
    generator = np.random.default_rng(0)
    x = generator.integers(1, 9, size=(BATCH_SIZE, 5))
    lengths = 1 + np.arange(BATCH_SIZE) * 5 // BATCH_SIZE
    x[np.arange(5) >= lengths[:, None]] = 0
    return x, generator.integers(0, 3, size=(BATCH_SIZE, 5)), None


def build_masked(**arguments):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(inputs)
    x = layers.GRU(4, return_sequences=True)(x)
    outputs = layers.Dense(3, activation="softmax")(x)
    model = keras_sam.SAMModel(inputs, outputs, **arguments)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def fit(model, *arrays):
    x, y, weights = arrays or data()
    return model.fit(
        x,
        y,
        sample_weight=weights,
        batch_size=BATCH_SIZE,
        epochs=2,
        shuffle=False,
        verbose=0,
    ).history


def compare(model, logs, alone, logs_alone):
    return {
        "variables": max(
            float(np.abs(a.numpy() - b.numpy().astype("float64")).max())
            for a, b in zip(model.variables, alone.variables)
        ),
        "logs": max(
            float(np.abs(np.subtract(logs[key], logs_alone[key])).max())
            for key in logs_alone
        ),
        "moved": float(np.abs(model.get_weights()[0]).max()),
        "sharpness": logs["sharpness"][0],
    }


class LaidOut(layers.Layer):
    """Asks for a layout of its input, as a layer of a user's may."""

    def call(self, inputs):
        distribution = keras.distribution.distribution()
        if distribution is None:
            return inputs
        layout = keras.distribution.TensorLayout(
            (distribution.batch_dim_name, None), distribution.device_mesh
        )
        return keras.distribution.distribute_tensor(inputs, layout)


def compare_model_parallel(devices, layouts_of_outputs=()):
    """Compare weights on a mesh of two by two devices with those on one."""
    mesh = keras.distribution.DeviceMesh((2, 2), ("batch", "model"), devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout["first/kernel"] = (None, "model")
    layout["second/kernel"] = ("model", None)
    for path, axes in dict(layouts_of_outputs).items():
        layout[path] = axes
    parallel = keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch"
    )
    with parallel.scope():
        model = build_named(method="vasso")
        logs = fit(model)
        layouts = {
            str(v.value.sharding.spec)
            for v in model.variables
            if v.shape == (8, 16)
        }
    alone = build_named(method="vasso", num_microbatches=2)
    result = compare(model, logs, alone, fit(alone))
    return {**result, "layouts": sorted(layouts)}


def build_named(**arguments):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="tanh", name="first")(inputs)
    x = LaidOut()(x)
    outputs = layers.Dense(3, activation="softmax", name="second")(x)
    return compiled(keras_sam.SAMModel(inputs, outputs, **arguments))


def statistics(distribution):
    """Return the moving statistics after a step, and the means over shards."""
    x, y, _ = data()
    x = x[:BATCH_SIZE]
    with distribution.scope():
        inputs = keras.Input((8,))
        normalized = layers.BatchNormalization(momentum=0.9)(inputs)
        outputs = layers.Dense(3, activation="softmax")(normalized)
        model = compiled(keras_sam.SAMModel(inputs, outputs))
        model.train_on_batch(x, y[:BATCH_SIZE])
    shards = np.split(x.astype("float64"), 4)
    mean = np.mean([0.1 * shard.mean(0) for shard in shards], axis=0)
    variance = np.mean([0.9 + 0.1 * shard.var(0) for shard in shards], axis=0)
    found = [v.numpy() for v in model.non_trainable_variables]
    return [float(np.abs(a - b).max()) for a, b in zip(found, (mean, variance))]


def dropout(distribution):
    """Return the slopes of a sum over dropout, of an example on each device.

    They are the means over the masks, and the seed that a step leaves is
    returned with them, on four devices and on one.
    """
    results = {}
    for name, scope in (
        ("many", distribution.scope()),
        ("one", contextlib.nullcontext()),
    ):
        with scope:
            keras.utils.set_random_seed(0)
            inputs = keras.Input((64,))
            x = layers.Dropout(0.5, seed=1)(inputs)
            outputs = layers.Dense(
                1, use_bias=False, kernel_initializer="zeros"
            )(x)
            model = keras_sam.SAMModel(inputs, outputs, rho=1e-30)
            model.compile(
                keras.optimizers.SGD(1.0), lambda y, y_pred: y_pred - y
            )
            model.train_on_batch(np.ones((4, 64)), np.zeros((4, 1)))
        [state] = [v for v in model.variables if v.shape == (2,)]
        results[name] = {
            "slopes": (-model.get_weights()[0][:, 0]).tolist(),
            "seed": state.numpy().tolist(),
        }
    return results


def refusal(distribution):
    try:
        with distribution.scope():
            fit(build(perturbation=3))
    except ValueError as error:
        return str(error)
    return ""


def refusal_of_lengths(distribution):
    x, y, _ = data()
    with distribution.scope():
        inputs = [keras.Input((8,)), keras.Input((8,))]
        mean = keras.ops.mean(inputs[1], axis=0, keepdims=True)
        outputs = layers.Dense(3, activation="softmax")(inputs[0] + mean)
        model = compiled(keras_sam.SAMModel(inputs, outputs))
        before = model.get_weights()
        try:
            model.fit((b for b in [([x[:8], x[:4]], y[:8])]), verbose=0)
        except ValueError as error:
            for a, b in zip(before, model.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
            return str(error)
    return ""


def reductions(distribution, perturbation):
    """Return how many numbers a compiled step reduces over the devices."""
    x, y, weights = (array[:BATCH_SIZE] for array in data())
    with distribution.scope():
        settings = (
            {"rho": 0.0}
            if perturbation is None
            else {"perturbation": perturbation}
        )
        model = build(**settings)
        model.train_on_batch(x, y, weights)
        lists = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        state = tuple([v.value for v in variables] for variables in lists)
        shardings = jax.tree.map(lambda value: value.sharding, state)
        batch = jax.tree.map(
            lambda array: jax.device_put(
                array,
                distribution.get_data_layout(array.shape).backend_layout,
            ),
            (x, y, weights.astype("float32")),
        )
        step = jax.jit(model.train_step, out_shardings=(None, shardings))
        text = step.lower(state, batch).compile().as_text()
    results = re.findall(r"= (.*?) all-reduce\(", text)
    shapes = re.findall(r"f32\[([\d,]*)\]", " ".join(results))
    sizes = [
        int(np.prod([int(d) for d in shape.split(",") if d]))
        for shape in shapes
    ]
    return {
        "numbers": sum(size for size in sizes if size > 1),
        "parameters": model.count_params(),
        "others": len(re.findall(r" (?:all-gather|all-to-all)\(", text)),
    }


if __name__ == "__main__":
    main()
