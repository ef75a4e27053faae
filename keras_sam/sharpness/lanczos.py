"""Lanczos' method with full re-orthogonalization, in NumPy.

Without re-orthogonalization rounding errors bring eigenvalues back that were
found already, which counts them twice.
"""

from typing import Any
from typing import Protocol

import numpy as np


class SymmetricOperator(Protocol):
    """A symmetric matrix that is known by its products, as a `Curvature`."""

    size: int
    dtype: Any

    def product(self, vector: np.ndarray) -> np.ndarray:
        """Return the matrix times a vector of shape `(size,)`."""


class Lanczos:
    """An orthonormal basis in which a symmetric matrix is tridiagonal.

    Stores one vector of the matrix's size for each step.

    Args:
        operator: The matrix, as its products.
        generator: Draws the first vector, and one for each restart.
        max_steps: For how many vectors there has to be room.
    """

    def __init__(
        self,
        operator: SymmetricOperator,
        generator: np.random.Generator,
        max_steps: int,
    ) -> None:
        self._operator = operator
        self._generator = generator
        self._basis = np.empty((max_steps, operator.size), operator.dtype)
        self._next: np.ndarray
        self.steps = 0
        self.restart()
        self.diagonal: list[float] = []
        self.off_diagonal: list[float] = []

    def step(self) -> bool:
        """Do one product.

        Returns:
            Whether there is a next vector. If not, the basis spans all that
            can be reached from the first one, and the Ritz values are exact.
        """
        vector = self._basis[self.steps] = self._next
        image = self._operator.product(vector)
        length = np.linalg.norm(image)
        self.steps += 1
        self.diagonal.append(float(vector @ image))
        rest = self._orthogonal(image)
        size = float(np.linalg.norm(rest))
        self.off_diagonal.append(size)
        # An image inside the span has a rest all the same: its rounding error.
        rounding = 10 * np.finfo(rest.dtype).eps * length
        if size <= rounding or self.steps == len(rest):
            self.off_diagonal[-1] = 0.0
            return False
        self._next = rest / size
        return True

    def restart(self) -> None:
        """Continue from a random vector, made orthogonal to the basis."""
        start = self._generator.standard_normal(self._operator.size)
        rest = self._orthogonal(start.astype(self._operator.dtype))
        self._next = rest / np.linalg.norm(rest)

    def ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Return Ritz values, increasing, and vectors in the basis."""
        beside = self.off_diagonal[:-1]
        matrix = (
            np.diag(self.diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        )
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors

    def combine(self, coefficients: np.ndarray) -> np.ndarray:
        """Return combinations of the basis, one per column, as rows."""
        basis = self._basis[: self.steps]
        return coefficients.T.astype(basis.dtype) @ basis

    def _orthogonal(self, vector: np.ndarray) -> np.ndarray:
        """Return the part orthogonal to the basis; twice is enough."""
        basis = self._basis[: self.steps]
        for _ in range(2):
            vector = vector - (basis @ vector) @ basis
        return vector
