"""PyTorch: automatic differentiation, generators, vectors."""

from keras_sam.backend.torch.autodiff import as_tensor
from keras_sam.backend.torch.autodiff import auxiliary_and_gradients
from keras_sam.backend.torch.autodiff import cond
from keras_sam.backend.torch.autodiff import densify
from keras_sam.backend.torch.autodiff import filled_like
from keras_sam.backend.torch.autodiff import perturbed_weights
from keras_sam.backend.torch.autodiff import select
from keras_sam.backend.torch.autodiff import stored_values
from keras_sam.backend.torch.random import draws_by_example
from keras_sam.backend.torch.random import generator_variables
from keras_sam.backend.torch.random import kept_generators
from keras_sam.backend.torch.random import unlisted_state
from keras_sam.backend.torch.random import with_pure_randomness
from keras_sam.backend.torch.vectors import add
from keras_sam.backend.torch.vectors import dot
from keras_sam.backend.torch.vectors import scale
from keras_sam.backend.torch.vectors import scale_lazily
from keras_sam.backend.torch.vectors import scale_or_zero
from keras_sam.backend.torch.vectors import subtract

__all__ = [
    "add",
    "as_tensor",
    "auxiliary_and_gradients",
    "cond",
    "densify",
    "dot",
    "draws_by_example",
    "filled_like",
    "generator_variables",
    "kept_generators",
    "perturbed_weights",
    "scale",
    "scale_lazily",
    "scale_or_zero",
    "select",
    "stored_values",
    "subtract",
    "unlisted_state",
    "with_pure_randomness",
]
