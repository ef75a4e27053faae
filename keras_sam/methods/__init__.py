"""Sharpness-aware methods: the perturbation, and the gradients applied."""

from typing import Any

import keras

from keras_sam.methods.ae_sam import AESAM
from keras_sam.methods.asam import ASAM
from keras_sam.methods.base import Method
from keras_sam.methods.friendly_sam import FriendlySAM
from keras_sam.methods.functional_sam import FunctionalSAM
from keras_sam.methods.gsam import GSAM
from keras_sam.methods.le_sam import LESAM
from keras_sam.methods.look_sam import LookSAM
from keras_sam.methods.metrics import AdaptiveMetric
from keras_sam.methods.momentum_sam import MomentumSAM
from keras_sam.methods.preconditioned_sam import PreconditionedSAM
from keras_sam.methods.random_ascent import RandomAscent
from keras_sam.methods.sam import SAM
from keras_sam.methods.stable_sam import StableSAM
from keras_sam.methods.vasso import VaSSO
from keras_sam.methods.weighted_sam import WeightedSAM

__all__ = [
    "AESAM",
    "ASAM",
    "GSAM",
    "LESAM",
    "SAM",
    "AdaptiveMetric",
    "FriendlySAM",
    "FunctionalSAM",
    "LookSAM",
    "Method",
    "MomentumSAM",
    "PreconditionedSAM",
    "RandomAscent",
    "StableSAM",
    "VaSSO",
    "WeightedSAM",
    "get",
]

_BY_NAME = {
    "sam": SAM,
    "asam": ASAM,
    "gsam": GSAM,
    "weighted_sam": WeightedSAM,
    "friendly_sam": FriendlySAM,
    "vasso": VaSSO,
    "stable_sam": StableSAM,
    "momentum_sam": MomentumSAM,
    "look_sam": LookSAM,
    "ae_sam": AESAM,
    "le_sam": LESAM,
    "preconditioned_sam": PreconditionedSAM,
    "random_ascent": RandomAscent,
    "functional_sam": FunctionalSAM,
}


def get(identifier: Any) -> Method:
    """Return a method, given an instance, a name or a configuration.

    Args:
        identifier: A `Method`, its name in lower case with underscores, or its
            serialized configuration.

    Returns:
        A `Method`.

    Example:
    >>> keras_sam.methods.get("asam")
    ASAM(eta=0.01, scale_all=False)

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
