"""Measures of sharpness: Hessian spectra, rises of the loss, landscapes.

Every measure takes a compiled `keras.Model` and data, or an `Objective` made
of both. None changes the model. Results are frozen dataclasses that print,
`plot`, and `save` as JSON.

By default the layers are in inference mode: batch normalization with its
moving statistics, no dropout.

The examples measure a linear model at its minimum, where all weights are 1. Its
loss is sum(c (w - 1)^2) / 2 with the curvatures c = 4, 1, 0.25:

>>> import keras
>>> import numpy as np
>>> from keras_sam import sharpness
>>> x = np.diag(np.sqrt(1.5 * np.array([4.0, 1.0, 0.25])))
>>> y = x.sum(axis=1, keepdims=True)
>>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
>>> model = keras.Sequential([keras.Input((3,)), layer])
>>> model.compile(loss="mse")
"""

from keras_sam.sharpness.average import AverageSharpness
from keras_sam.sharpness.average import average_sharpness
from keras_sam.sharpness.curvature import Curvature
from keras_sam.sharpness.density import SpectralDensity
from keras_sam.sharpness.density import spectral_density
from keras_sam.sharpness.eigenvalues import HessianEigenvalues
from keras_sam.sharpness.eigenvalues import hessian_eigenvalues
from keras_sam.sharpness.line import LossLine
from keras_sam.sharpness.line import loss_line
from keras_sam.sharpness.objective import Objective
from keras_sam.sharpness.results import load
from keras_sam.sharpness.surface import LossSurface
from keras_sam.sharpness.surface import loss_surface
from keras_sam.sharpness.trace import HessianTrace
from keras_sam.sharpness.trace import hessian_trace
from keras_sam.sharpness.trajectory import Trajectory
from keras_sam.sharpness.worst_case import WorstCaseSharpness
from keras_sam.sharpness.worst_case import worst_case_sharpness

__all__ = [
    "AverageSharpness",
    "Curvature",
    "HessianEigenvalues",
    "HessianTrace",
    "LossLine",
    "LossSurface",
    "Objective",
    "SpectralDensity",
    "Trajectory",
    "WorstCaseSharpness",
    "average_sharpness",
    "hessian_eigenvalues",
    "hessian_trace",
    "load",
    "loss_line",
    "loss_surface",
    "spectral_density",
    "worst_case_sharpness",
]
