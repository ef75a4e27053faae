"""The trajectory of the weights during training."""

import dataclasses
import os

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Snapshots of the trainable weights.

    `keras_sam.callbacks.TrajectoryRecorder` records them.

    Attributes:
        steps: Shape `(num_snapshots,)`, the number of steps before each.
        points: Shape `(num_snapshots, num_weights)`: all trainable weights as
            flat vectors.

    Example:
    >>> points = np.array([[0, 0, 0], [3, 0, 0], [3, 0, 1], [0, 0, 1]])
    >>> trajectory = keras_sam.sharpness.Trajectory(np.arange(4), points)
    >>> print(trajectory.principal_axes()[1].round(3))
    [0.9 0.1]
    """

    steps: np.ndarray
    points: np.ndarray

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the snapshots to a NumPy `.npz` file."""
        np.savez(path, steps=self.steps, points=self.points)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trajectory":
        """Return the trajectory in a file.

        Args:
            path: A file that `save` wrote.

        Returns:
            `Trajectory`.
        """
        with np.load(path) as content:
            return cls(content["steps"], content["points"])

    def principal_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the two directions in which the snapshots differ most.

        Principal components of the snapshots' differences from the last one
        (Li et al., 2018, https://arxiv.org/abs/1712.09913, section 7.2).

        Returns:
            Two orthonormal vectors, of shape `(2, num_weights)`, and the
            fractions of the variance that they explain, of shape `(2,)`.

        Raises:
            ValueError: If there are fewer than three different snapshots.
        """
        # Centering cancels the last snapshot: its differences have the same
        # principal components as the snapshots themselves.
        centered = self.points.astype("float64") - self.points.mean(axis=0)
        _, sizes, axes = np.linalg.svd(centered, full_matrices=False)
        # Variances are squares of singular values. The second is rounding if
        # all snapshots are on one line.
        if len(sizes) < 3 or not sizes[1] > 1e-9 * sizes[0]:
            raise ValueError(
                "A trajectory needs at least three different snapshots that "
                f"are not on one line. Received: {len(self.points)} snapshots"
            )
        return axes[:2], (sizes**2 / np.sum(sizes**2))[:2]
