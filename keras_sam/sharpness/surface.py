"""The loss on a plane through the weights."""

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
from keras_sam.sharpness.trajectory import Trajectory

MARGIN = 0.2
"""Shown around a trajectory, as a fraction of its extent."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LossSurface(Result):
    """The loss on a plane.

    `keras_sam.sharpness.loss_surface` returns it.

    Attributes:
        first: Shape `(num_points,)`, positions along the first direction.
        second: Shape `(num_points,)`, positions along the second one.
        losses: Shape `(num_points, num_points)`; rows go along `second`.
        directions: `"random"`, `"to"` or `"trajectory"`.
        lengths: Shape `(2,)`, Euclidean norms of the directions.
        path: Shape `(num_snapshots, 2)`, the trajectory projected onto the
            plane; `None` without a trajectory.
        explained: Shape `(2,)`, the fractions of the trajectory's variance
            along the directions; `None` without a trajectory.
    """

    measure = "loss_surface"

    first: Annotated[np.ndarray, ("num_points",)]
    second: Annotated[np.ndarray, ("num_points",)]
    losses: Annotated[np.ndarray, ("num_points", "num_points")]
    directions: str
    lengths: Annotated[np.ndarray, (2,)]
    path: Annotated[np.ndarray | None, ("num_snapshots", 2)] = None
    explained: Annotated[np.ndarray | None, (2,)] = None

    def __str__(self) -> str:
        lines = [
            f"loss on a plane ({self.directions}, units "
            f"{self.lengths[0]:.4g} and {self.lengths[1]:.4g}): "
            f"{self.first[0]:.3g} to {self.first[-1]:.3g} by "
            f"{self.second[0]:.3g} to {self.second[-1]:.3g}",
            f"lowest {self.losses.min():.6g}, highest {self.losses.max():.6g}",
            self.heading(),
        ]
        if self.explained is not None:
            lines.append(
                f"{self.explained.sum():.1%} of the trajectory's variance is "
                "in the plane"
            )
        return "\n".join(lines)


def loss_surface(
    model: keras.Model | Objective,
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    *,
    to: keras.Model | None = None,
    trajectory: Trajectory | None = None,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    num_points: int = 51,
    seed: int = 0,
    verbose: int = 1,
    **options: Any,
) -> LossSurface:
    """Return the loss on a plane through the weights.

    The two directions are random and filter-normalized, as for `loss_line`; or
    the line to another model and a random direction that is orthogonal to the
    line and of its length; or the two principal components of a trajectory,
    around its last snapshot (Li et al., 2018,
    https://arxiv.org/abs/1712.09913).

    Args:
        model: A compiled `keras.Model`, or an `Objective` instead of all data
            and options.
        x: Inputs, or batches; see `Objective`.
        y: Targets.
        sample_weight: Weights of examples.
        to: A model of the same shapes, placed at (1, 0).
        trajectory: Snapshots of this model; see
            `keras_sam.callbacks.TrajectoryRecorder`. Moving statistics at
            every point are the present ones of the model.
        limits: First and last position in both directions; -1 and 1 by
            default, -0.5 and 1.5 towards another model, and with a trajectory
            its extent with a margin of a fifth.
        num_points: The number of positions in each direction; 51 in the
            paper's code, which takes 2,601 losses.
        seed: Of random directions.
        verbose: 0 for silence, 1 for a progress bar on long work.
        **options: Those of `Objective`. `variables` is `"no_norm_no_bias"` by
            default for random directions, as in the paper, and otherwise
            `"all"`, which a trajectory needs.

    Returns:
        `LossSurface`.

    Example, with the model of `keras_sam.sharpness`:

    >>> plane = sharpness.loss_surface(model, x, y, num_points=3)
    >>> print(plane.losses.shape, plane.losses[1, 1])
    (3, 3) 0.0

    Raises:
        ValueError: If an argument is invalid, or if the model is random
            in the chosen mode.
    """
    if to is not None and trajectory is not None:
        raise ValueError(
            "Only one of `to` and `trajectory` can be given. Received: "
            f"to={to!r}, trajectory of {len(trajectory.points)} snapshots"
        )
    is_random = to is None and trajectory is None
    objective = landscape_objective(
        model,
        (x, y, sample_weight),
        options,
        "no_norm_no_bias" if is_random else "all",
    )
    generator = np.random.default_rng(seed)
    endpoint = None if to is None else Endpoint(objective, to)
    if trajectory is not None:
        plane = _of_trajectory(objective, trajectory)
    else:
        plane = _through_model(objective, endpoint, generator)
    first, second = (
        grid(low, high, num_points) for low, high in limits or plane.limits
    )
    losses = np.empty((num_points, num_points))
    progress = Progress(losses.size, verbose)
    for i, b in enumerate(second):
        for j, a in enumerate(first):
            point = plane.origin + a * plane.axes[0] + b * plane.axes[1]
            state = None if endpoint is None else endpoint.state(a)
            losses[i, j] = objective.loss(point, state)
            progress.advance()
    return LossSurface(
        first=first,
        second=second,
        losses=losses,
        directions=plane.name,
        lengths=np.linalg.norm(plane.axes, axis=1),
        path=plane.path,
        explained=plane.explained,
        **common(objective),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Plane:
    """A plane, the limits of its plot, and the trajectory on it."""

    name: str
    origin: np.ndarray
    axes: np.ndarray
    limits: Any
    path: np.ndarray | None = None
    explained: np.ndarray | None = None


def _through_model(
    objective: Objective,
    endpoint: Endpoint | None,
    generator: np.random.Generator,
) -> _Plane:
    drawn = random_direction(objective, generator)
    if endpoint is None:
        axes = np.stack([drawn, random_direction(objective, generator)])
        return _Plane("random", objective.weights, axes, ((-1, 1), (-1, 1)))
    first = endpoint.direction
    square = first @ first
    if not square:
        raise ValueError(
            "`to` must differ from `model`. Received: equal weights"
        )
    second = drawn - (drawn @ first / square) * first
    second *= np.sqrt(square) / np.linalg.norm(second)
    axes = np.stack([first, second])
    return _Plane("to", objective.weights, axes, ((-0.5, 1.5), (-1, 1)))


def _of_trajectory(objective: Objective, trajectory: Trajectory) -> _Plane:
    if trajectory.points.shape[1] != objective.size:
        raise ValueError(
            "`trajectory` must hold all weights that `variables` selects. "
            f"Received: {trajectory.points.shape[1]} and {objective.size}"
        )
    axes, explained = trajectory.principal_axes()
    origin = trajectory.points[-1].astype("float64")
    path = (trajectory.points - origin) @ axes.T
    low, high = path.min(axis=0), path.max(axis=0)
    margin = MARGIN * (high - low)
    limits = tuple(zip(low - margin, high + margin))
    return _Plane("trajectory", origin, axes, limits, path, explained)
