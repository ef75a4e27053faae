"""Functional Sharpness-Aware Minimization."""

import dataclasses
from typing import ClassVar

import keras

from keras_sam.methods.steepest import SteepestAscent


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionalSAM(SteepestAscent):
    """Regularize the network, and not the loss: for language models.

    `e = rho * g / ||g||` as in SAM, and `h = J(w + e)^T d` with the Jacobian J
    of the predictions and the gradient `d` of the loss by the predictions at w.
    The gradient of SAM has two parts: one lowers the sensitivity of the
    predictions to the weights, the other changes `d`, which for language models
    dominates and does not help. This method keeps the first alone.

    Regularizers, and what layers add to the loss, are differentiated at w + e
    as in SAM. The loss is computed twice in the first pass, and in the second
    one with predictions that are constants. Not for `ascent_fraction` below 1,
    nor for training loops of one's own.

    Args:
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Reference:
        [Singh et al., 2025](https://arxiv.org/abs/2502.02407), whose language
        models of 24 million to 1.2 billion weights end below AdamW after as
        many steps, where SAM ends above it. They do not compare at equal
        compute.

    Example:
    The Jacobian of a linear model is the same everywhere, so that h is g:

    >>> inputs = keras.Input((2,))
    >>> outputs = keras.layers.Dense(1, use_bias=False)(inputs)
    >>> model = keras_sam.SAMModel(
    ...     inputs, outputs, method="functional_sam", rho=0.5
    ... )
    >>> model.compile("sgd", "mse")
    >>> report = keras_sam.verify(model, np.eye(2), np.ones((2, 1)))
    >>> report.perturbed_loss > report.loss, round(report.angle)
    (True, 0)
    """

    holds_outputs: ClassVar[bool] = True
