"""The runner on each backend, and on two devices of one machine."""

import math

import pytest

from keras_sam.experiments import records
from tests.running import printed_by

RUN = ["-m", "keras_sam.experiments"]
# Logical devices must be configured before TensorFlow starts.
ON_TWO_DEVICES = [
    "-c",
    """
import tensorflow as tf

[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
from keras_sam.experiments.__main__ import main

main()
""",
]
ENVIRONMENT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


@pytest.mark.parametrize(
    ("backend", "start", "environment", "settings"),
    [
        ("jax", RUN, {}, []),
        ("torch", RUN, {}, []),
        (
            "tensorflow",
            ON_TWO_DEVICES,
            {},
            ["strategy=mirrored", "eager=false"],
        ),
        (
            "jax",
            RUN,
            ENVIRONMENT,
            ["strategy=data_parallel", "eager=false"],
        ),
    ],
)
def test_an_experiment_runs(backend, start, environment, settings, tmp_path):
    printed_by(
        *(*start, "label-noise-40/sam", "--smoke"),
        *("--folder", tmp_path, "--set", "source=digits"),
        *("augmentation=small_crop", *settings),
        KERAS_BACKEND=backend,
        **environment,
    )
    [record] = records.read(tmp_path / "smoke" / "records.jsonl")
    assert backend in record["versions"]
    assert math.isfinite(record["loss"])
    assert record["sharpness"] != 0
