"""Uncompiled steps on two devices: what is refused, and what that changes."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

import keras_sam


def main() -> None:
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    inputs = keras.Input((6,))
    outputs = keras.layers.Dense(3)(inputs)
    for options in ({"jit_compile": False}, {"run_eagerly": True}):
        model = keras_sam.SAMModel(inputs, outputs)
        model.compile("sgd", "mse", **options)
        before = model.get_weights()
        try:
            model.fit(np.ones((8, 6)), np.ones((8, 3)), verbose=0)
        except ValueError as error:
            print("refused:", error)
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 6)), np.ones((8, 3)), verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


if __name__ == "__main__":
    main()
