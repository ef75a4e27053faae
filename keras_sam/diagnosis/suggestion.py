"""`suggest_rho`: the rise of the loss with the radius, and a suggestion."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import keras

from keras_sam import backend
from keras_sam import validation
from keras_sam.diagnosis.verification import as_batch
from keras_sam.diagnosis.verification import check_effect
from keras_sam.diagnosis.verification import relative_size
from keras_sam.display import Displayed
from keras_sam.engine.loss import state_variables
from keras_sam.engine.results import Inspection
from keras_sam.engine.step import Step
from keras_sam.sam_model import SAMModel

LEAST_RISE = 0.001
"""Below it SAM has hardly any effect."""
LARGEST_RISE = 1.0
"""Above it the perturbed loss is hardly related to the loss."""
SUGGESTED_RISE = 0.1
"""Not from a paper; see the docstring of `suggest_rho`."""


@dataclasses.dataclass(frozen=True)
class RhoSuggestion(Displayed):
    """The rise of the loss with the radius. Prints as a table.

    `keras_sam.suggest_rho` returns it. `plot` draws it with
    `keras_sam.plots.rho_ladder`, `save` writes it as JSON, and a notebook
    displays table and picture.

    Attributes:
        method: Name of the method's class.
        loss: The training loss at w.
        rhos: The radii that were tried, increasing.
        rises: For each radius, (L(w + e) - L(w)) / |L(w)|.
        relative_sizes: For each radius, the norm of e divided by that of the
            perturbed weights.
        rho: The suggested radius.
        reason: The reason for the suggestion, in a sentence.
    """

    method: str
    loss: float
    rhos: tuple[float, ...]
    rises: tuple[float, ...]
    relative_sizes: tuple[float, ...]
    rho: float
    reason: str

    measure: ClassVar[str] = "rho_ladder"

    @property
    def budget(self) -> float:
        """The rise of the loss at the suggested radius, in units of the loss.

        To first order, `LESAM` with this budget as `rho` raises the loss by as
        much on this batch, unless it has an `ascent_loss`.
        """
        return abs(self.loss) * self.rises[self.rhos.index(self.rho)]

    def __str__(self) -> str:
        lines = [
            f"{self.method}, loss at w {self.loss:.6g}",
            f"{'rho':>10}  {'rise of the loss':>16}  {'|e| / |w|':>10}",
        ]
        for rho, rise, size in zip(self.rhos, self.rises, self.relative_sizes):
            mark = "  <- suggested" if rho == self.rho else ""
            lines.append(f"{rho:>10.4g}  {rise:>+16.2%}  {size:>10.3g}{mark}")
        lines.append(self.reason)
        if self.method != "LESAM":
            lines.append(f"As a budget of loss for LESAM: {self.budget:.3g}.")
        return "\n".join(lines)


def suggest_rho(
    model: SAMModel,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    rhos: Sequence[float] | None = None,
) -> RhoSuggestion:
    """Measure the rise of the loss with the radius, and suggest a radius.

    The suggestion is the largest radius of the ladder up to which the loss
    rises by at most 10 % on the batch. It is the start of a search, not its
    result. The 10 % are not from a paper: before training, the best radii in
    the two tasks of `examples/frontier.py` raise the loss by about 5 % (a
    convolutional network on CIFAR-10) and 20 % (a dense network on the
    digits).

    Nothing is trained: weights, statistics, seeds, metrics and optimizer are
    not changed. Warns if the model's own radius raises the loss by less than
    0.1 % or by more than 100 %.

    Args:
        model: A compiled `SAMModel`.
        x: As for `fit`: inputs of shape `(batch_size, ...)`, or a nest of
            them, with the batch size of training; or an iterable of batches,
            of which the first is used.
        y: Targets of shape `(batch_size, ...)`, or a nest of them.
        sample_weight: Weights of shape `(batch_size,)`, or `None`.
        rhos: Numbers > 0. Defaults to the method's default radius times
            powers of 2 from 1/16 to 16.

    Returns:
        `RhoSuggestion`.

    Example:
    >>> inputs = keras.Input((2,))
    >>> outputs = keras.layers.Dense(1, kernel_initializer="ones")(inputs)
    >>> model = keras_sam.SAMModel(inputs, outputs)
    >>> model.compile("sgd", "mse")
    >>> x, y = np.array([[0.6, 0.8]]), np.zeros((1, 1))
    >>> suggestion = keras_sam.suggest_rho(model, x, y, rhos=[0.02, 0.04, 0.08])
    >>> [f"{rise:.1%}" for rise in suggestion.rises], suggestion.rho
    (['4.1%', '8.2%', '16.8%'], 0.04)

    Raises:
        TypeError: If `model` is not a `SAMModel`.
        ValueError: If `model` is not compiled, a radius is not above 0, or no
            radius has an effect.
    """
    batch = as_batch(model, x, y, sample_weight)
    ladder = _ladder(model, rhos)
    state = [backend.read(variable) for variable in state_variables(model)]
    step = Step(model, batch)
    inspections = [step.inspect(state, rho) for rho in ladder]
    check_effect(model, inspections[-1])
    rises = [_relative_rise(i) for i in inspections]
    rho, reason = _choose(ladder, rises)
    _warn_of(model, step, state)
    return RhoSuggestion(
        method=type(model.sam.method).__name__,
        loss=float(inspections[0].loss),
        rhos=tuple(ladder),
        rises=tuple(rises),
        relative_sizes=tuple(relative_size(model, i) for i in inspections),
        rho=rho,
        reason=reason,
    )


def _ladder(model: SAMModel, rhos: Sequence[float] | None) -> list[float]:
    if rhos is None:
        default = model.sam.method.default_rho
        return [default * 2.0**k for k in range(-4, 5)]
    if not rhos:
        raise ValueError(f"`rhos` must not be empty. Received: rhos={rhos!r}")
    return sorted(validation.number("rhos", rho, "(0, inf)") for rho in rhos)


def _relative_rise(inspection: Inspection) -> float:
    loss = abs(float(inspection.loss))
    return float(inspection.rise) / loss if loss else math.inf


def _choose(ladder: list[float], rises: list[float]) -> tuple[float, str]:
    """Return the last radius before the loss first rises too far."""
    # Not the last radius with a small rise: beyond a barrier the loss may fall
    # again, and NaN fails every comparison.
    below = 0
    while below < len(rises) and rises[below] <= SUGGESTED_RISE:
        below += 1
    if below == 0:
        return ladder[0], (
            f"Even the smallest radius raises the loss by {rises[0]:.0%}, more "
            f"than {SUGGESTED_RISE:.0%}: try smaller ones with `rhos`."
        )
    rho, rise = ladder[below - 1], rises[below - 1]
    if rise < LEAST_RISE:
        return rho, (
            f"No radius raises the loss by {LEAST_RISE:.1%}: try larger ones "
            "with `rhos`, or `verify` that SAM has an effect."
        )
    return rho, (
        f"rho = {rho:.4g} raises the loss by {rise:.1%}; it is the largest "
        f"radius tried with at most {SUGGESTED_RISE:.0%}. Start here, and try "
        "half and twice of it."
    )


def _warn_of(model: SAMModel, step: Step, state: list[Any]) -> None:
    """Warn if the model's own radius does too little or too much."""
    rho = float(keras.ops.convert_to_numpy(model.sam.rho_at(model.optimizer)))
    if not rho > 0:
        return
    rise = _relative_rise(step.inspect(state, rho))
    if rise < LEAST_RISE or rise > LARGEST_RISE:
        extent = "less than 0.1 %" if rise < LEAST_RISE else "more than 100 %"
        warnings.warn(
            f"The model's radius of {rho:.4g} changes the loss on this batch "
            f"by {rise:+.2%}: {extent}. See the suggestion.",
            stacklevel=3,
        )
