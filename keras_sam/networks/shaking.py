"""Layers that scale residual branches at random during training.

Each multiplies by one random number in the forward pass and by another in the
backward pass. The draws come from a `keras.random.SeedGenerator`, so that both
passes of a sharpness-aware step have the same ones.
"""

from typing import Any

import keras
from keras import layers
from keras import ops
from keras import random

from keras_sam import validation
from keras_sam.types import Tensor


def _gated(x: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """Return `forward * x`, whose derivative by `x` is `backward`."""
    # The value is b x + (a x - b x) = a x; only the first b x has a derivative.
    differentiated = backward * x
    return differentiated + ops.stop_gradient(forward * x - differentiated)


class _Shaking(layers.Layer):
    """A layer that draws a number for each example."""

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = random.SeedGenerator(seed)

    def uniform(self, x: Tensor, low: float) -> Tensor:
        """Return one number in [low, 1) for each example."""
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        return random.uniform(
            shape, low, 1.0, dtype=x.dtype, seed=self.seed_generator
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_sam")
class ShakeGate(_Shaking):
    """Mixes two branches: `a * x1 + (1 - a) * x2`.

    In training, `a` is uniform in [0, 1) for each image, and the gradient
    has another such draw in its place; in inference `a` is 1/2.

    Args:
        seed: Integer or `None`. Defaults to `None`.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        branches: Two tensors of shape `(batch_size, ...)`.
        training: Boolean.

    Example:
    >>> gate = keras_sam.networks.ShakeGate(seed=0)
    >>> branches = [ops.zeros((1, 2)), ops.ones((1, 2))]
    >>> print(ops.convert_to_numpy(gate(branches)))
    [[0.5 0.5]]

    Reference:
        [Gastaldi, 2017](https://arxiv.org/abs/1705.07485), "Shake-Shake-Image".
        Deviation of the SAM authors' code: its first pass uses the true
        gradient.
    """

    def call(self, branches: list[Tensor], training: bool = False) -> Tensor:
        first, second = branches
        if not training:
            return 0.5 * (first + second)
        forward, backward = self.uniform(first, 0.0), self.uniform(first, 0.0)
        return _gated(first, forward, backward) + _gated(
            second, 1 - forward, 1 - backward
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]


@keras.saving.register_keras_serializable(package="keras_sam")
class ShakeDrop(_Shaking):
    """Drops residual branches in part: `(b + a - b * a) * x`.

    In training, `b` is 1 with probability `survival` and else 0, and `a` is
    uniform in [-1, 1); the gradient has another number, uniform in [0, 1), in
    place of `a`. All are drawn for each image. In inference the branch is
    multiplied by its mean, `survival`.

    Args:
        survival: Number in [0, 1].
        seed: Integer or `None`. Defaults to `None`.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        x: Tensor of shape `(batch_size, ...)`.
        training: Boolean.

    Example:
    >>> drop = keras_sam.networks.ShakeDrop(survival=0.8)
    >>> print(ops.convert_to_numpy(drop(np.ones((1, 2)))))
    [[0.8 0.8]]

    Raises:
        ValueError: If `survival` is outside [0, 1].

    Reference:
        [Yamada et al., 2019](https://arxiv.org/abs/1802.02375), equation 6.
        Deviation: `b` is drawn for each image, not once for a batch.
        Deviation of the SAM authors' code: its first pass uses the true
        gradient.
    """

    def __init__(
        self, survival: float, seed: int | None = None, **kwargs: Any
    ) -> None:
        survival = validation.number("survival", survival, "[0, 1]")
        super().__init__(seed, **kwargs)
        self.survival = survival

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if not training:
            return self.survival * x
        # The factor is 1 if b = 1 and a if b = 0; as a has mean 0, the mean of
        # the factor is `survival`.
        survives = ops.cast(self.uniform(x, 0.0) < self.survival, x.dtype)
        forward, backward = self.uniform(x, -1.0), self.uniform(x, 0.0)
        return _gated(
            x,
            survives + forward - survives * forward,
            survives + backward - survives * backward,
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "survival": self.survival}
