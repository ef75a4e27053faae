"""Training on several devices of one machine, by name."""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import keras


def scope(name: str) -> AbstractContextManager[Any]:
    """Return a context in which models are made and trained on all devices.

    Args:
        name: `"none"`; `"mirrored"`, TensorFlow's `MirroredStrategy`; or
            `"data_parallel"`, Keras' distribution of that name, on JAX.

    Returns:
        Context manager.

    Raises:
        ValueError: If the backend has no such strategy.
    """
    backend = keras.backend.backend()
    if name == "none":
        return contextlib.nullcontext()
    if name == "mirrored" and backend == "tensorflow":
        import tensorflow

        return tensorflow.distribute.MirroredStrategy().scope()
    if name == "data_parallel" and backend == "jax":
        return keras.distribution.DataParallel().scope()
    raise ValueError(
        '`strategy` must be "none", "mirrored" (on TensorFlow) or '
        '"data_parallel" (on JAX). '
        f"Received: strategy={name!r} on {backend}"
    )
