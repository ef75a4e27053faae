"""Schedules of rho, and one of the learning rate, that are not in Keras.

Each is a `keras.optimizers.schedules.LearningRateSchedule`. Any schedule of
Keras can be `rho`, too. A step whose rho is 0 has no second pass.
"""

import contextvars
import math
from typing import Any
from typing import TypeAlias

import keras
from keras import ops

from keras_sam import backend
from keras_sam import validation
from keras_sam.types import Tensor

__all__ = [
    "LatePhase",
    "Periodic",
    "ProportionalToLearningRate",
    "Warmup",
    "WarmupStableDecay",
]

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule

_optimizer: contextvars.ContextVar[Any] = contextvars.ContextVar(
    "optimizer", default=None
)
"""The optimizer of the step for which a schedule is called."""


@keras.saving.register_keras_serializable(package="keras_sam")
class Warmup(Schedule):
    """Zero, then a linear rise over equally many steps, then `rho`.

    With Adam and vision transformers, a constant radius is harmful during the
    warm-up of the learning rate.

    Args:
        steps: Integer >= 1. The schedule is 0 for `steps` steps and rises to
            `rho` over another `steps` steps.
        rho: Number >= 0 or schedule.

    Example:
    >>> rho = keras_sam.schedules.Warmup(2, 0.1)
    >>> [round(float(rho(step)), 3) for step in range(6)]
    [0.0, 0.0, 0.0, 0.05, 0.1, 0.1]
    """

    def __init__(self, steps: int, rho: Any) -> None:
        self.steps = validation.integer("steps", steps)
        self.rho = number_or_schedule("rho", rho)

    def __call__(self, step: Tensor) -> Tensor:
        since = ops.cast(step, "float32") - self.steps
        rise = ops.clip(since / self.steps, 0.0, 1.0)
        return rise * _at(self.rho, step)

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "rho": _serialized(self.rho)}


@keras.saving.register_keras_serializable(package="keras_sam")
class Periodic(Schedule):
    """`rho` at every `period`-th step, starting with the first; else 0.

    Args:
        period: Integer >= 1.
        rho: Number >= 0 or schedule.

    Example:
    >>> rho = keras_sam.schedules.Periodic(2, 0.1)
    >>> [round(float(rho(step)), 3) for step in range(4)]
    [0.1, 0.0, 0.1, 0.0]
    """

    def __init__(self, period: int, rho: Any) -> None:
        self.period = validation.integer("period", period)
        self.rho = number_or_schedule("rho", rho)

    def __call__(self, step: Tensor) -> Tensor:
        is_due = ops.equal(ops.mod(step, self.period), 0)
        rho = ops.cast(_at(self.rho, step), "float32")
        return ops.where(is_due, rho, ops.zeros_like(rho))

    def get_config(self) -> dict[str, Any]:
        return {"period": self.period, "rho": _serialized(self.rho)}


@keras.saving.register_keras_serializable(package="keras_sam")
class LatePhase(Schedule):
    """0 before a step, `rho` from that step on.

    With `WarmupStableDecay` for the learning rate and `start` at the first step
    of its decay, the stable phase has the cost of plain training, and SAM is
    used in the decay, which determines the minimum.

    Args:
        start: Integer >= 0, the first step with `rho`.
        rho: Number >= 0 or schedule.

    Example:
    >>> from keras_sam import schedules
    >>> rate = schedules.WarmupStableDecay(0.1, 10, decay_steps=3)
    >>> rho = schedules.LatePhase(rate.decay_start, 0.05)
    >>> [round(float(rho(step)), 3) for step in (0, 6, 7, 9)]
    [0.0, 0.0, 0.05, 0.05]

    Reference:
        [Zhou et al., 2025](https://arxiv.org/abs/2410.10373).
    """

    def __init__(self, start: int, rho: Any) -> None:
        self.start = validation.integer("start", start, least=0)
        self.rho = number_or_schedule("rho", rho)

    def __call__(self, step: Tensor) -> Tensor:
        rho = ops.cast(_at(self.rho, step), "float32")
        return ops.where(step >= self.start, rho, ops.zeros_like(rho))

    def get_config(self) -> dict[str, Any]:
        return {"start": self.start, "rho": _serialized(self.rho)}


@keras.saving.register_keras_serializable(package="keras_sam")
class WarmupStableDecay(Schedule):
    """A learning rate with linear warm-up, a constant phase and linear decay.

    `peak_rate * min(step / warmup_steps, 1, (total_steps - step) /
    decay_steps)`, but decaying to `final_rate` instead of 0: it is 0 at step 0
    of a warm-up, `peak_rate` from `warmup_steps` to `decay_start`, and
    `final_rate` from `total_steps` on.

    Args:
        peak_rate: Number >= 0, the learning rate of the stable phase.
        total_steps: Integer >= 1, the steps of all three phases.
        warmup_steps: Integer >= 0. Defaults to 0, no warm-up.
        decay_steps: Integer >= 0, at most `total_steps - warmup_steps`.
            Defaults to 30 % of `total_steps`, rounded down.
        final_rate: Number >= 0. Defaults to 0.

    Example:
    >>> rate = keras_sam.schedules.WarmupStableDecay(
    ...     0.1, 8, warmup_steps=2, decay_steps=4
    ... )
    >>> [round(float(rate(step)), 3) for step in range(0, 9, 2)]
    [0.0, 0.1, 0.1, 0.05, 0.0]
    >>> rate.decay_start
    4

    Attributes:
        decay_start: The first step of the decay,
            `total_steps - decay_steps`.

    Raises:
        ValueError: If an argument is outside its range.

    Reference:
        [Hu et al., 2024](https://arxiv.org/abs/2404.06395), section 4.
        Deviation: their decay is exponential; the linear one to 0 is that of
        [Hägele et al., 2024](https://arxiv.org/abs/2405.18392).
    """

    def __init__(
        self,
        peak_rate: float,
        total_steps: int,
        warmup_steps: int = 0,
        decay_steps: int | None = None,
        final_rate: float = 0.0,
    ) -> None:
        number, integer = validation.number, validation.integer
        self.peak_rate = number("peak_rate", peak_rate, "[0, inf)")
        self.final_rate = number("final_rate", final_rate, "[0, inf)")
        self.total_steps = integer("total_steps", total_steps)
        if decay_steps is None:
            decay_steps = 3 * self.total_steps // 10
        self.warmup_steps = integer("warmup_steps", warmup_steps, least=0)
        self.decay_steps = integer("decay_steps", decay_steps, least=0)
        self.decay_start = self.total_steps - self.decay_steps
        if self.warmup_steps > self.decay_start:
            raise ValueError(
                "`warmup_steps` and `decay_steps` must be at most "
                "`total_steps` together. "
                f"Received: warmup_steps={warmup_steps}, "
                f"decay_steps={decay_steps}, total_steps={total_steps}"
            )

    def __call__(self, step: Tensor) -> Tensor:
        # Integers beyond 2^24 are not exact in float32: the difference, which
        # is small where it matters, is taken before the conversion.
        rise = _progress(step, self.warmup_steps)
        fall = _progress(step - self.decay_start, self.decay_steps)
        return self.peak_rate * rise + (self.final_rate - self.peak_rate) * fall

    def get_config(self) -> dict[str, Any]:
        names = ("peak_rate", "total_steps", "warmup_steps", "decay_steps")
        return {k: getattr(self, k) for k in (*names, "final_rate")}


@keras.saving.register_keras_serializable(package="keras_sam")
class ProportionalToLearningRate(Schedule):
    """A radius that is a linear function of the optimizer's learning rate.

    `rho = min_rho + (max_rho - min_rho) * (rate - min_rate) /
    (max_rate - min_rate)`, and never below 0. The rate is the actual one of the
    step, also if a callback has changed it.

    Args:
        max_rho: Number >= 0, the radius at `max_rate`.
        max_rate: Number > `min_rate`, the largest learning rate.
        min_rho: Number in [0, `max_rho`], the radius at `min_rate`. Defaults
            to 0.
        min_rate: Number >= 0. Defaults to 0.

    Example:
    >>> rho = keras_sam.schedules.ProportionalToLearningRate(0.2, max_rate=0.1)
    >>> inputs = keras.Input((1,))
    >>> outputs = keras.layers.Dense(1, kernel_initializer="ones")(inputs)
    >>> model = keras_sam.SAMModel(inputs, outputs, rho=rho)
    >>> model.compile(keras.optimizers.SGD(0.05), "mse")
    >>> report = keras_sam.verify(model, np.ones((1, 1)), np.zeros((1, 1)))
    >>> round(report.rho, 3)
    0.1

    Raises:
        ValueError: If an argument is outside its range, if the schedule is
            called outside a training step, or if the optimizer has several
            learning rates.

    Reference:
        [Zhuang et al., 2022](https://arxiv.org/abs/2203.08065). Deviation:
        clamped at 0, because below `min_rate` the formula can be negative.
    """

    def __init__(
        self,
        max_rho: float,
        max_rate: float,
        min_rho: float = 0.0,
        min_rate: float = 0.0,
    ) -> None:
        if not 0 <= min_rho <= max_rho < math.inf:
            raise ValueError(
                "`min_rho` and `max_rho` must be finite and "
                "0 <= min_rho <= max_rho. "
                f"Received: min_rho={min_rho}, max_rho={max_rho}"
            )
        if not 0 <= min_rate < max_rate < math.inf:
            raise ValueError(
                "`min_rate` and `max_rate` must be finite and "
                "0 <= min_rate < max_rate. "
                f"Received: min_rate={min_rate}, max_rate={max_rate}"
            )
        self.max_rho = float(max_rho)
        self.max_rate = float(max_rate)
        self.min_rho = float(min_rho)
        self.min_rate = float(min_rate)

    def __call__(self, step: Tensor) -> Tensor:
        del step
        optimizer = _optimizer.get()
        if optimizer is None:
            raise ValueError(
                "`ProportionalToLearningRate` has a value only inside a "
                "training step, as the `rho` of a `SAMModel` or of a schedule "
                "in it: elsewhere there is no learning rate."
            )
        rate = backend.learning_rate(optimizer)
        slope = (self.max_rho - self.min_rho) / (self.max_rate - self.min_rate)
        return ops.maximum(self.min_rho + slope * (rate - self.min_rate), 0.0)

    def get_config(self) -> dict[str, Any]:
        names = ("max_rho", "max_rate", "min_rho", "min_rate")
        return {name: getattr(self, name) for name in names}


def rho_at(rho: float | Schedule, optimizer: keras.Optimizer) -> Tensor:
    """Return the radius of the coming step: a float if it is constant."""
    if isinstance(rho, float):
        return rho
    token = _optimizer.set(optimizer)
    try:
        return rho(optimizer.iterations)
    finally:
        _optimizer.reset(token)


def _progress(step: Tensor, length: int) -> Tensor:
    """Return the fraction of a phase that is over, from 0 to 1."""
    step = ops.cast(step, "float32")
    if length == 0:
        return ops.cast(step >= 0, "float32")
    return ops.clip(step / length, 0.0, 1.0)


def _at(rho: float | Schedule, step: Tensor) -> Tensor:
    return rho(step) if callable(rho) else rho


def number_or_schedule(
    name: str, value: Any, interval: str = "[0, inf)"
) -> float | Schedule:
    """Return an argument that is a number, a schedule or a serialized one.

    Args:
        name: Of the argument.
        value: Of the argument.
        interval: The allowed numbers, as for `validation.number`.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(value, dict):
        value = keras.saving.deserialize_keras_object(value)
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return value
    return validation.number(
        name,
        value,
        interval,
        ", or a `keras.optimizers.schedules.LearningRateSchedule`",
    )


def _serialized(rho: Any) -> Any:
    return keras.saving.serialize_keras_object(rho)
