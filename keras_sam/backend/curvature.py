"""The choice of derivatives that `keras_sam.sharpness` measures with."""

import contextlib
import importlib
from typing import Any

import keras

from keras_sam.types import Tensor

_own: Any = importlib.import_module(
    f"keras_sam.backend.{keras.backend.backend()}.curvature"
)
compiled = _own.compiled
gradient = _own.gradient
hessian_product = _own.hessian_product
gauss_newton_product = _own.gauss_newton_product
# Seeds are variables of Keras, which a scope sees, but for PyTorch's own.
reported_draws = getattr(_own, "ReportedDraws", contextlib.nullcontext)


def predict(model: keras.Model, x: Any, training: bool) -> Any:
    """Return the predictions of a forward pass."""
    if model._call_has_training_arg:
        return model(x, training=training)
    return model(x)


def compiled_loss(
    model: keras.Model,
    x: Any,
    y: Any,
    y_pred: Any,
    sample_weight: Any,
    training: bool,
) -> Tensor:
    """Return the loss that the model is compiled with, a scalar."""
    return model._compute_loss(
        x=x,
        y=y,
        y_pred=y_pred,
        sample_weight=sample_weight,
        training=training,
    )
