"""Sharpness-aware methods: how to perturb, and what to follow."""

from typing import Any

import keras

from keras_sam.methods.asam import ASAM
from keras_sam.methods.base import Method
from keras_sam.methods.sam import SAM

_BY_NAME = {"sam": SAM, "asam": ASAM}


def get(identifier: Any) -> Method:
    """Return the method that `identifier` stands for.

    Args:
        identifier: A `Method`, its name in lower case with underscores, or its
            serialized configuration.

    Returns:
        A `Method`.

    Raises:
        ValueError: If there is no such method.
    """
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if isinstance(identifier, Method):
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    names = ", ".join(f'"{name}"' for name in _BY_NAME)
    raise ValueError(
        "`method` must be an instance of `keras_sam.methods.Method` or one of "
        f"{names}. Received: method={identifier!r}"
    )
