"""JAX: gradients of functions and loops."""

from keras_sam.backend.jax.autodiff import auxiliary_and_gradients
from keras_sam.backend.jax.autodiff import cond
from keras_sam.backend.jax.autodiff import select
from keras_sam.backend.jax.autodiff import sum_in_turn
from keras_sam.backend.jax.autodiff import write_unlisted

__all__ = [
    "auxiliary_and_gradients",
    "cond",
    "select",
    "sum_in_turn",
    "write_unlisted",
]
