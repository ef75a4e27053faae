"""Stable Sharpness-Aware Minimization."""

import dataclasses

import keras

from keras_sam import vectors
from keras_sam.methods.sam import PerturbsLikeSAM
from keras_sam.types import State
from keras_sam.types import Vector


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class StableSAM(PerturbsLikeSAM):
    """Apply the direction of `h` at the length of `g`.

    `u = h * ||g|| / ||h||`. Near a minimum the gradient at w + e is much
    longer than that at w, which makes SAM unstable; at the length of `g` a
    larger learning rate stays stable. No hyperparameters.

    Reference:
        [Tan et al., 2025](https://arxiv.org/abs/2401.07250).
    """

    def combine(
        self, gradients: Vector, perturbed_gradients: Vector, state: State
    ) -> Vector:
        del state
        return vectors.with_norm(vectors.norm(gradients), perturbed_gradients)
