"""How sharp a minimum is: spectra of the Hessian, rises, landscapes.

Every measure takes a compiled `keras.Model` and data, or an `Objective`, which
is both, and changes nothing. Results are frozen dataclasses that print, `plot`,
and `save` as JSON.

By default the layers are in inference mode: batch normalization with its
moving statistics, no dropout.
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
