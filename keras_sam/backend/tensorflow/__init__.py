"""TensorFlow: gradient tapes and loops."""

from keras_sam.backend.tensorflow.autodiff import as_tensor
from keras_sam.backend.tensorflow.autodiff import auxiliary_and_gradients
from keras_sam.backend.tensorflow.autodiff import cond
from keras_sam.backend.tensorflow.autodiff import densify
from keras_sam.backend.tensorflow.autodiff import filled_like
from keras_sam.backend.tensorflow.autodiff import mean_over_replicas
from keras_sam.backend.tensorflow.autodiff import num_replicas
from keras_sam.backend.tensorflow.autodiff import perturbed_weights
from keras_sam.backend.tensorflow.autodiff import select
from keras_sam.backend.tensorflow.autodiff import stored_values
from keras_sam.backend.tensorflow.autodiff import sum_in_turn
from keras_sam.backend.tensorflow.autodiff import take
from keras_sam.backend.tensorflow.autodiff import unlisted_state
from keras_sam.backend.tensorflow.building import build
from keras_sam.backend.tensorflow.inputs import as_input
from keras_sam.backend.tensorflow.inputs import with_equal_lengths
from keras_sam.backend.tensorflow.random import draws_by_example
from keras_sam.backend.tensorflow.vectors import dot
from keras_sam.backend.tensorflow.vectors import scale_lazily
from keras_sam.backend.tensorflow.vectors import scale_or_zero

__all__ = [
    "as_input",
    "as_tensor",
    "auxiliary_and_gradients",
    "build",
    "cond",
    "densify",
    "dot",
    "draws_by_example",
    "filled_like",
    "mean_over_replicas",
    "num_replicas",
    "perturbed_weights",
    "scale_lazily",
    "scale_or_zero",
    "select",
    "stored_values",
    "sum_in_turn",
    "take",
    "unlisted_state",
    "with_equal_lengths",
]
