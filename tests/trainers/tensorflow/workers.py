"""Trains, evaluates and predicts on two replicas, and prints the results.

With `TF_CONFIG` each replica is a process, as `test_workers.py` starts them;
without, both are logical devices of this one.
"""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from tests.trainers.tensorflow import replicas


def main():
    if "TF_CONFIG" in os.environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        strategy = replicas.two_logical_devices()
    results = {
        "graph": results_of(strategy, jit_compile=False),
        "XLA": results_of(strategy, jit_compile=True),
        "steps": results_of(strategy, steps_per_execution=2),
        "unbuilt": results_of(strategy, metrics=["accuracy"]),
    }
    print(json.dumps(results))


def results_of(strategy, **arguments):
    with strategy.scope():
        model = replicas.build(**arguments)
    logs = replicas.fit(model)
    x, y, weights = replicas.data()
    return {
        "logs": logs,
        "weights": [w.tolist() for w in model.get_weights()],
        "evaluated": model.evaluate(
            x, y, batch_size=32, sample_weight=weights, verbose=0
        ),
        "predicted": model.predict(x, batch_size=32, verbose=0).tolist(),
    }


if __name__ == "__main__":
    main()
    keras.backend.clear_session()
