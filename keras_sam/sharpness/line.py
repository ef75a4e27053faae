"""The loss along a line through the weights."""

import dataclasses
from typing import Annotated
from typing import Any

import keras
import numpy as np

from keras_sam.sharpness.filters import random_direction
from keras_sam.sharpness.landscape import Endpoint
from keras_sam.sharpness.landscape import grid
from keras_sam.sharpness.landscape import landscape_objective
from keras_sam.sharpness.objective import Objective
from keras_sam.sharpness.progress import Progress
from keras_sam.sharpness.results import Result
from keras_sam.sharpness.results import common


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LossLine(Result):
    """The loss along a line.

    `keras_sam.sharpness.loss_line` returns it.

    Attributes:
        positions: Shape `(num_points,)`. The model is at 0.
        losses: Shape `(num_points,)`.
        direction: `"random"`, or `"to"` if another model is at 1.
        length: Euclidean norm of the direction, the unit of the positions.
    """

    measure = "loss_line"

    positions: Annotated[np.ndarray, ("num_points",)]
    losses: Annotated[np.ndarray, ("num_points",)]
    direction: str
    length: float

    def __str__(self) -> str:
        lowest = int(np.argmin(self.losses))
        return (
            f"loss along a line ({self.direction}, unit {self.length:.4g}): "
            f"from {self.positions[0]:.3g} to {self.positions[-1]:.3g}\n"
            f"lowest {self.losses[lowest]:.6g} at "
            f"{self.positions[lowest]:.3g}, highest {self.losses.max():.6g}\n"
            f"{self.heading()}"
        )


def loss_line(
    model: keras.Model | Objective,
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    *,
    to: keras.Model | None = None,
    limits: tuple[float, float] | None = None,
    num_points: int = 51,
    seed: int = 0,
    verbose: int = 1,
    **options: Any,
) -> LossLine:
    """Return the loss along a line through the weights.

    A random direction is Gaussian and filter-normalized (Li et al., 2018,
    https://arxiv.org/abs/1712.09913, section 4): each of its filters has the
    norm of the same filter of the weights, so that plots of models whose
    weights differ in scale can be compared. `keras_sam.sharpness.filters`
    defines the filters of each layer.

    Args:
        model: A compiled `keras.Model`, or an `Objective` instead of all data
            and options.
        x: Inputs, or batches; see `Objective`.
        y: Targets.
        sample_weight: Weights of examples.
        to: A model of the same shapes, placed at 1. Moving statistics are
            interpolated with the weights.
        limits: First and last position; -1 and 1 by default, as in the paper,
            -0.5 and 1.5 with `to`.
        num_points: The number of positions; 51 in the paper's code.
        seed: Of a random direction. The same seed gives the same draw for
            models of the same shapes.
        verbose: 0 for silence, 1 for a progress bar on long work.
        **options: Those of `Objective`. `variables` is `"no_norm_no_bias"` by
            default, as in the paper, and `"all"` with `to`.

    Returns:
        `LossLine`.

    Example, with the model of `keras_sam.sharpness`:

    >>> line = sharpness.loss_line(model, x, y, num_points=11)
    >>> print(line.positions[line.losses.argmin()])
    0.0

    Raises:
        ValueError: If an argument is invalid, or if the model is random
            in the chosen mode.
    """
    default = "no_norm_no_bias" if to is None else "all"
    low, high = limits or ((-1, 1) if to is None else (-0.5, 1.5))
    positions = grid(low, high, num_points)
    objective = landscape_objective(
        model, (x, y, sample_weight), options, default
    )
    endpoint = None if to is None else Endpoint(objective, to)
    if endpoint is None:
        generator = np.random.default_rng(seed)
        direction = random_direction(objective, generator)
    else:
        direction = endpoint.direction
    progress = Progress(num_points, verbose)
    losses = []
    for position in positions:
        point = objective.weights + position * direction
        state = None if endpoint is None else endpoint.state(position)
        losses.append(objective.loss(point, state))
        progress.advance()
    return LossLine(
        positions=positions,
        losses=np.array(losses),
        direction="random" if endpoint is None else "to",
        length=float(np.linalg.norm(direction)),
        **common(objective),
    )
