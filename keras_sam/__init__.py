"""Sharpness-aware training for Keras 3."""
from keras_sam import methods
from keras_sam.sam_model import SAMModel

__version__ = "0.1.0"
