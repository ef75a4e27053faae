"""Adaptive policy to Employ Sharpness-Aware Minimization."""

import dataclasses
from typing import Any

import keras
from keras import ops

from keras_sam import schedules
from keras_sam import validation
from keras_sam import vectors
from keras_sam.methods.steepest import SteepestAscent
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AESAM(SteepestAscent):
    """SAM on the steps whose gradient is long, plain steps otherwise.

    A long gradient indicates a sharp region. With the moving mean `mu` and
    variance `s2` of `||g||^2`, this step's included, there is a second pass if
    `||g||^2 >= mu + threshold * sqrt(s2)`. The mean starts at the first step's
    value. With a threshold of minus infinity this is SAM.

    Under data parallelism and with micro-batches, one decision is made for all
    parts, from the mean of their `||g||^2`. With micro-batches this takes an
    additional pass.

    Args:
        threshold: Number or `keras.optimizers.schedules.LearningRateSchedule`,
            called with the optimizer's iteration. The paper decreases it
            linearly from 1 to -1 over training, which is
            `PolynomialDecay(1.0, num_steps, -1.0)`. Defaults to 0.0, the
            middle of that range, which needs no number of steps.
        decay: Float in [0, 1), of the moving mean and variance. Defaults to
            0.9, as in the paper.
        metric: In which the length is measured; see `SAM`. Defaults to
            `"euclidean"`.

    Example:
    >>> method = keras_sam.methods.AESAM()
    >>> state, decisions = method.initial_state([]), []
    >>> for square in (1.0, 0.5, 2.0):
    ...     is_sharp, state = method.decide(0, ops.array(square), state)
    ...     decisions.append(bool(is_sharp))
    >>> decisions
    [True, False, True]

    Raises:
        ValueError: If `decay` is outside [0, 1) or `threshold` is neither a
            number nor a schedule.

    Reference:
        [Jiang et al., 2023](https://openreview.net/forum?id=6Wl7-M2BC-).
        There is no authors' code.
    """

    threshold: Any = 0.0
    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.set_fields(
            self,
            threshold=schedules.number_or_schedule(
                "threshold", self.threshold, "[-inf, inf]"
            ),
            decay=validation.number("decay", self.decay, "[0, 1)"),
        )

    def initial_state(self, weights: Vector) -> State:
        del weights
        return {
            "mean": ops.zeros(()),
            "variance": ops.zeros(()),
            "has_started": ops.zeros(()),
        }

    def statistic(self, gradients: Vector) -> Tensor:
        return vectors.dot(gradients, gradients)

    def decide(
        self, iteration: Tensor, statistic: Tensor | None, state: State
    ) -> tuple[Tensor | bool, State]:
        threshold = self.threshold
        if callable(threshold):
            threshold = threshold(iteration)
        threshold = ops.cast(threshold, keras.config.floatx())
        # At the first step decay is 0, so the mean is ||g||^2 itself and not
        # biased towards the 0 that it is created with; the deviation is then
        # 0, and the first step has a second pass for every finite threshold.
        decay = self.decay * state["has_started"]
        mean = decay * state["mean"] + (1 - decay) * statistic
        deviation = ops.square(statistic - mean)
        variance = self.decay * state["variance"] + (1 - self.decay) * deviation
        state = {
            "mean": mean,
            "variance": variance,
            "has_started": ops.ones(()),
        }
        # Infinity times a deviation of zero would be NaN.
        margin = ops.where(
            ops.isinf(threshold), threshold, threshold * ops.sqrt(variance)
        )
        return statistic >= mean + margin, state
