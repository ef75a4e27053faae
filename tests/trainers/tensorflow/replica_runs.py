"""Trains on two replicas in the ways that `test_replica_runs.py` looks at.

In a process of its own, as `replicas.py`. Prints the results.
"""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_sam import sharpness
from keras_sam.callbacks import AveragedWeights
from tests import small_network
from tests.trainers.tensorflow import replicas

NUM_STEPS = 300
RHO = 0.1


def main():
    strategy = replicas.two_logical_devices()
    results = {
        "uneven": uneven(strategy),
        "compiled": compiled(strategy),
        "many steps": many_steps(strategy),
        **resumed(strategy),
        "accumulation": accumulation(strategy),
        "measured": measured(strategy),
        "averaged": averaged(strategy),
    }
    print(json.dumps(results))


def uneven(strategy):
    """Return the distance to the reference: batches of 5, of 3 and 2."""
    with strategy.scope():
        model = small_network.compiled(small_network.GRAPH, rho=RHO)
    weight = small_network.flat(model.get_weights()).astype("float64")
    weights = small_network.fit(model).weights
    assert len(weights) == 3
    expected = []
    for batch in small_network.batches():
        shards = [[a[:3] for a in batch], [a[3:] for a in batch]]
        gradients = [perturbed_gradient(weight, shard) for shard in shards]
        weight = weight - small_network.LEARNING_RATE * sum(gradients) / 2
        expected.append(weight)
    return float(np.abs(np.subtract(weights, expected)).max())


def averaged(strategy):
    """Return how far a mean of weights is from that on one device."""
    x, y, _ = replicas.data()

    def trained(num_microbatches=1):
        model = replicas.build(
            norm="whole batch", num_microbatches=num_microbatches
        )
        callback = AveragedWeights(4, x, batch_size=32)
        model.fit(
            *(x, y),
            batch_size=32,
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=[callback],
        )
        return model

    with strategy.scope():
        model = trained()
    return {
        "weights": replicas.distance(model, trained(num_microbatches=2)),
        "copies": replicas.copies(model.variables),
    }


def measured(strategy):
    """Return the loss of `evaluate`, and those of an `Objective`."""
    with strategy.scope():
        model = small_network.compiled(small_network.GRAPH, rho=RHO)
    x, y, _ = small_network.examples(9)
    losses = [model.evaluate(x, y, batch_size=9, verbose=0)]
    losses.append(sharpness.Objective(model, x, y).value)
    with strategy.scope():
        losses.append(sharpness.Objective(model, x, y).value)
    return losses


def perturbed_gradient(weight, shard):
    """Return the gradient of a shard at w + e, in float64."""
    gradient = small_network.PROBLEM.gradient
    clean = gradient(weight, *shard)
    e = RHO * clean / np.linalg.norm(clean)
    return gradient(weight + e, *shard)


def compiled(strategy):
    """Compare XLA on each replica with micro-batches in the graph."""
    with strategy.scope():
        model = replicas.build(jit_compile=True)
    logs = replicas.fit(model)
    alone = replicas.build(num_microbatches=2)
    return replicas.compare(model, logs, alone, replicas.fit(alone))


def many_steps(strategy):
    """Return by how much copies of any variable differ in the end."""
    with strategy.scope():
        model = replicas.build("friendly_sam", optimizer="adam", dropout=0.2)
    before = model.get_weights()
    replicas.fit(model, epochs=NUM_STEPS // 3)
    return {
        "steps": int(model.optimizer.iterations.numpy()),
        "copies": replicas.copies(
            model.trainable_variables + model.optimizer.variables
        ),
        "moved": float(np.abs(model.get_weights()[0] - before[0]).max()),
    }


def resumed(strategy):
    """Compare runs that change the number of replicas with one that does not.

    FriendlySAM and momentum both have state that the file has to carry.
    """
    whole = replicas.build("friendly_sam", num_microbatches=2)
    replicas.fit(whole, epochs=4)
    with strategy.scope():
        several = replicas.build("friendly_sam")
    replicas.fit(several, epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.keras")
        several.save(file)
        alone = keras.models.load_model(file)
    at_load = replicas.distance(several, alone)
    state = differences(several.optimizer.variables, alone.optimizer.variables)
    # The same split of a batch: two parts in place of two replicas.
    fewer = continued(several, num_microbatches=2)
    start = replicas.build("friendly_sam", num_microbatches=2)
    replicas.fit(start, epochs=2)
    with strategy.scope():
        more = continued(start)
    return {
        "loaded": {"weights": at_load, "optimizer": state},
        "2 to 1": differences(whole.variables, fewer.variables),
        "1 to 2": differences(whole.variables, more.variables),
    }


def continued(model, **arguments):
    """Return a model that goes on from a checkpoint of another."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "checkpoint.weights.h5")
        model.save_weights(file)
        other = replicas.build("friendly_sam", **arguments)
        other.build_method_state()
        other.optimizer.build(other.trainable_variables)
        other.load_weights(file)
    assert int(other.optimizer.iterations.numpy()) == 6
    replicas.fit(other, epochs=2)
    return other


def accumulation(strategy):
    """Return what a refused `fit` says, and whether it changed anything."""
    with strategy.scope():
        model = replicas.build(
            optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        )
    before = model.get_weights()
    message = replicas.refusal(model)
    iterations = int(model.optimizer.iterations.numpy())
    after = model.get_weights()
    return {
        "message": message,
        "iterations": iterations,
        "untouched": all(map(np.array_equal, before, after)),
    }


def differences(first, second):
    """Return the largest difference between two lists of variables."""
    assert len(first) == len(second)
    return max(
        float(np.abs(a.numpy().astype("float64") - b.numpy()).max())
        for a, b in zip(first, second)
    )


if __name__ == "__main__":
    main()
