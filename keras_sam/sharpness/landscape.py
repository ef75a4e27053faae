"""Common parts of lines and surfaces of the loss."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sam.sharpness.objective import Objective
from keras_sam.sharpness.objective import objective_of


def landscape_objective(
    model: Any, data: tuple[Any, ...], options: dict[str, Any], default: str
) -> Objective:
    """Return an `Objective`, of the variables `default` by default."""
    if not isinstance(model, Objective):
        options = {"variables": default, **options}
    return objective_of(model, data, options)


class Endpoint:
    """A second model: the line to its weights, and the state along the line.

    The moving statistics of normalization layers are interpolated with the
    weights, so that the loss at 1 is that of the other model.

    Args:
        objective: The loss of the first model.
        other: A model with weights of the same shapes.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(self, objective: Objective, other: keras.Model) -> None:
        own = objective.model.weights
        shapes = [tuple(v.shape) for v in own]
        if shapes != [tuple(v.shape) for v in other.weights]:
            raise ValueError(
                "`to` must have weights of the same shapes as `model`. "
                f"Received: to={other!r}"
            )
        partner = {id(v): w for v, w in zip(own, other.weights)}
        self._state = objective.state
        self._ends = [
            ops.stop_gradient(partner[id(v)].value)
            if id(v) in partner and not v.trainable and "float" in v.dtype
            else None
            for v in objective.constants
        ]
        end = objective.flatten(
            partner[id(v)].value for v in objective.variables
        )
        self.direction = end - objective.weights

    def state(self, position: float) -> list[Any]:
        """Return the state at a position, 0 for the first model."""
        return [
            start
            if end is None
            else ops.cast(start + position * (end - start), start.dtype)
            for start, end in zip(self._state, self._ends)
        ]


def grid(low: float, high: float, num_points: int) -> np.ndarray:
    """Return equally spaced positions.

    Raises:
        ValueError: If there are fewer than two, or the range is empty.
    """
    if num_points < 2 or not low < high:
        raise ValueError(
            "A range must be increasing and `num_points` at least 2. "
            f"Received: from {low} to {high}, num_points={num_points}"
        )
    return np.linspace(low, high, num_points)
