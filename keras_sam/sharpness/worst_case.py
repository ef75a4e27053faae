"""The largest rise of the loss within a radius."""

import dataclasses
import math
from typing import Annotated
from typing import Any
from typing import NamedTuple

import keras
import numpy as np

from keras_sam import validation
from keras_sam.sharpness.objective import Objective
from keras_sam.sharpness.objective import objective_of
from keras_sam.sharpness.progress import Progress
from keras_sam.sharpness.results import Result
from keras_sam.sharpness.results import common
from keras_sam.types import Batch

MOMENTUM = 0.75
"""Alpha of Auto-PGD: the weight of a new step; the last one has the rest."""
ENOUGH = 0.75
"""Rho of Auto-PGD: with a smaller fraction of rises, the step is halved."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class WorstCaseSharpness(Result):
    """The largest rise of the loss that was found within a radius.

    `keras_sam.sharpness.worst_case_sharpness` returns it.

    Attributes:
        sharpness: The mean over batches, weighted by their size, of the
            largest L(w + e) - L(w) found, >= 0. A lower bound of the maximum.
            Points whose loss overflows do not count.
        one_step: The same for SAM's own perturbation, one step along the
            gradient. May be negative.
        per_batch: Shape `(num_batches,)`.
        rho: The radius.
        norm: `"l2"` or `"linf"`.
        adaptive: Whether e is measured relative to the weights.
        steps: The number of steps of ascent.
        batch_size: The size of the first batch, the m of m-sharpness.
    """

    measure = "worst_case_sharpness"

    sharpness: float
    one_step: float
    per_batch: Annotated[np.ndarray, ("num_batches",)]
    rho: float
    norm: str
    adaptive: bool
    steps: int
    batch_size: int

    def __str__(self) -> str:
        name = "adaptive " * self.adaptive + self.norm
        return (
            f"worst-case sharpness within {self.rho:.4g} ({name}): "
            f"{self.sharpness:.6g}\n"
            f"{self.steps} steps of ascent, batches of {self.batch_size}; "
            f"SAM's one step: {self.one_step:.6g}\n{self.heading()}"
        )


def worst_case_sharpness(
    model: keras.Model | Objective,
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    *,
    rho: float = 0.05,
    norm: str = "l2",
    adaptive: bool = False,
    steps: int = 20,
    verbose: int = 1,
    **options: Any,
) -> WorstCaseSharpness:
    """Return the largest rise of the loss within a radius of the weights.

    The loss of each batch is maximized separately, which makes the result
    m-sharpness with m the batch size, by Auto-PGD (Croce and Hein, 2020,
    https://arxiv.org/abs/2003.01690, algorithm 1) as in Andriushchenko et al.
    (2023, https://arxiv.org/abs/2302.07011). The first point is the
    perturbation of SAM (ASAM if `adaptive`) at this radius, and the best point
    counts: the result is never below SAM's own rise. Worst-case sharpness is
    not known to predict generalization; see Andriushchenko et al.

    Args:
        model: A compiled `keras.Model`, or an `Objective` instead of all data
            and options.
        x: Inputs, or batches; see `Objective`.
        y: Targets.
        sample_weight: Weights of examples.
        rho: The radius, above 0. The paper uses 0.25 to 2 for `"l2"` and
            0.0005 to 0.004 for `"linf"`, for a ResNet-18 on CIFAR-10.
        norm: `"l2"` or `"linf"`, the norm in which e is at most `rho` long.
        adaptive: Bound e / |w|, elementwise, instead of e. Weights of zero
            are not moved.
        steps: Steps of ascent, at least 1.
        verbose: 0 for silence, 1 for a progress bar on long work.
        **options: Those of `Objective`: `variables`, `training`, `loss`,
            `batch_size`, which is m.

    Returns:
        `WorstCaseSharpness`.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.worst_case_sharpness(model, x, y + 1, rho=0.5)
    >>> print(f"{result.sharpness:.3f}, one step: {result.one_step:.3f}")
    1.381, one step: 1.342

    Raises:
        ValueError: If an argument is invalid, or if the model is random
            in the chosen mode.
    """
    check_radius(rho, norm)
    steps = validation.integer("steps", steps)
    objective = objective_of(model, (x, y, sample_weight), options)
    progress = Progress(len(objective.batches), verbose)
    rises, firsts = [], []
    for batch, _ in objective.batches:
        ball = Ball(objective, rho, norm, adaptive)
        best, first = auto_pgd(objective, batch, ball, steps)
        rises.append(best)
        firsts.append(first)
        progress.advance()
    shares = [share for _, share in objective.batches]
    return WorstCaseSharpness(
        sharpness=float(np.dot(shares, rises)),
        one_step=float(np.dot(shares, firsts)),
        per_batch=np.array(rises),
        rho=float(rho),
        norm=norm,
        adaptive=bool(adaptive),
        steps=steps,
        batch_size=round(shares[0] * objective.num_examples),
        **common(objective),
    )


def check_radius(rho: float, norm: str) -> None:
    """Check a radius and the name of a norm.

    Raises:
        ValueError: If the radius is not above 0, or the name is unknown.
    """
    validation.number("rho", rho, "(0, inf)")
    if norm not in ("l2", "linf"):
        raise ValueError(
            f'`norm` must be "l2" or "linf". Received: norm={norm!r}'
        )


class Ball:
    """The points u with a norm of at most rho; the weights are w + T u.

    T is 1, or |w| for the adaptive form.
    """

    def __init__(
        self, objective: Objective, rho: float, norm: str, adaptive: bool
    ) -> None:
        self._weights = objective.weights.astype("float64")
        self._scale = np.abs(self._weights) if adaptive else 1.0
        self._rho = rho
        self._norm = norm

    def point(self, inside: np.ndarray) -> np.ndarray:
        """Return w + T u."""
        return self._weights + self._scale * inside

    def steepest(self, gradient: np.ndarray) -> np.ndarray:
        """Return the u of norm rho along which the loss rises fastest."""
        # By the chain rule: the loss is a function of u by way of w + T u.
        gradient = self._scale * gradient.astype("float64")
        if self._norm == "linf":
            return self._rho * np.sign(gradient)
        size = np.linalg.norm(gradient)
        return gradient * (self._rho / size) if size else gradient

    def project(self, u: np.ndarray) -> np.ndarray:
        """Return the nearest u in the ball."""
        if self._norm == "linf":
            return np.clip(u, -self._rho, self._rho)
        size = np.linalg.norm(u)
        return u * (self._rho / size) if size > self._rho else u


def auto_pgd(
    objective: Objective, batch: Batch, ball: Ball, steps: int
) -> tuple[float, float]:
    """Return the largest rise on a batch, and the rise of the first step."""

    def evaluate(u: np.ndarray) -> _Point:
        loss, gradient = objective.loss_and_gradient(ball.point(u), batch)
        return _Point(u, loss, ball.steepest(gradient))

    start = evaluate(np.zeros(objective.size))
    # A full step along the gradient: the perturbation of SAM.
    point = evaluate(start.direction)
    first_rise = point.loss - start.loss
    best, previous = max(point, start, key=_Point.score), start
    # Directions have length rho: the first step size is 2 rho, as in the paper.
    step_size, num_rises, last_checkpoint = 2.0, 0, 0
    at_checkpoint = (step_size, best.score())
    checks = set(checkpoints(steps))
    for step in range(1, steps):
        target = ball.project(point.u + step_size * point.direction)
        target = point.u + MOMENTUM * (target - point.u)
        target += (1 - MOMENTUM) * (point.u - previous.u)
        previous, point = point, evaluate(ball.project(target))
        num_rises += point.score() > previous.score()
        best = max(best, point, key=_Point.score)
        if step in checks:
            is_stuck = at_checkpoint == (step_size, best.score())
            at_checkpoint = (step_size, best.score())
            if num_rises < ENOUGH * (step - last_checkpoint) or is_stuck:
                step_size, point = step_size / 2, best
            num_rises, last_checkpoint = 0, step
    return best.loss - start.loss, first_rise


class _Point(NamedTuple):
    """A point u of the ball, the loss there, and its steepest direction."""

    u: np.ndarray
    loss: float
    direction: np.ndarray

    def score(self) -> float:
        """Return the loss, or minus infinity if it is not finite.

        A loss that is not finite has no gradient to continue along.
        """
        return self.loss if math.isfinite(self.loss) else -math.inf


def checkpoints(steps: int) -> list[int]:
    """Return the steps at which Auto-PGD may halve its step."""
    # p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06): intervals that shrink
    # from 22 % of the steps to 6 % (section 3 of the paper).
    parts = [0.0, 0.22]
    while parts[-1] < 1:
        parts.append(parts[-1] + max(parts[-1] - parts[-2] - 0.03, 0.06))
    return [math.ceil(part * steps) for part in parts[1:] if part <= 1]
