"""Lanczos' method with full re-orthogonalization, in NumPy.

Without re-orthogonalization, rounding errors reintroduce directions that have
converged, and copies of their eigenvalues are counted. The twin in SciPy,
`scipy.sparse.linalg.eigsh`, does not return the tridiagonal matrix, which the
spectral density needs.
"""

from typing import Any
from typing import Protocol

import numpy as np


class SymmetricOperator(Protocol):
    """A symmetric matrix given by its products, as a `Curvature`."""

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
        max_steps: The maximum number of vectors.
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
            Whether there is a next vector. If not, the basis spans the whole
            Krylov space of the first one, and the Ritz values are exact.
        """
        vector = self._basis[self.steps] = self._next
        image = self._operator.product(vector)
        length = np.linalg.norm(image)
        self.steps += 1
        self.diagonal.append(float(vector @ image))
        rest = self._orthogonal(image)
        size = float(np.linalg.norm(rest))
        self.off_diagonal.append(size)
        # The rest of an image inside the span is not zero but its rounding
        # error; normalized, it would be a vector of noise.
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
        # The last one couples to the next vector, which is not in the basis.
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
        """Return the part orthogonal to the basis."""
        # One pass of Gram-Schmidt leaves errors of eps ||vector|| along the
        # basis, which are not small if the rest is short. The second pass
        # leaves eps ||rest||: twice is enough (Kahan and Parlett).
        basis = self._basis[: self.steps]
        for _ in range(2):
            vector = vector - (basis @ vector) @ basis
        return vector
