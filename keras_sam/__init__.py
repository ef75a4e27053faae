"""Sharpness-aware training for Keras 3."""

import importlib

import keras

try:
    importlib.import_module("keras_sam.backend")
except ImportError as error:
    if not (error.name or "").startswith("keras.src"):
        raise
    raise ImportError(
        f"This version of keras_sam does not run with Keras {keras.__version__}"
        f", which lacks something that it relies on ({error}). Install another "
        "version of one of the two."
    ) from error

from keras_sam import callbacks
from keras_sam import data
from keras_sam import methods
from keras_sam import networks
from keras_sam import plots
from keras_sam import schedules
from keras_sam import sharpness
from keras_sam.custom_loop import SharpnessAwareGradients
from keras_sam.custom_loop import sharpness_aware_gradients
from keras_sam.diagnosis.suggestion import RhoSuggestion
from keras_sam.diagnosis.suggestion import suggest_rho
from keras_sam.diagnosis.verification import Verification
from keras_sam.diagnosis.verification import verify
from keras_sam.sam_model import SAMModel

__version__ = "0.1.0"

__all__ = [
    "RhoSuggestion",
    "SAMModel",
    "SharpnessAwareGradients",
    "Verification",
    "callbacks",
    "data",
    "methods",
    "networks",
    "plots",
    "schedules",
    "sharpness",
    "sharpness_aware_gradients",
    "suggest_rho",
    "verify",
]
