"""The curvature of a loss as a linear operator."""

from typing import Any

import numpy as np

from keras_sam.sharpness.objective import Objective
from keras_sam.sharpness.progress import Progress
from keras_sam.sharpness.results import common

ASYMMETRY = 0.01
"""Rounding in float32 leaves some 1e-5; a wrong derivative some 4e-2."""


class Curvature:
    """The Hessian of a loss at the weights, as products with vectors.

    It has one row for each selected weight. The matrix itself is never
    formed: Lanczos' method, trace and density need only its products.

    Args:
        objective: The loss and the weights, an `Objective`.
        gauss_newton: Whether to use J^T H J instead of the Hessian, J the
            derivative of the outputs of the model by the weights and H the
            Hessian of the loss by these outputs.
        progress: Advanced by each product, or `None`.

    Attributes:
        size: The number of selected weights.
        dtype: The NumPy dtype of products.
        num_products: The number of products so far.

    Example, with the model of `keras_sam.sharpness`:

    >>> curvature = sharpness.Curvature(sharpness.Objective(model, x, y))
    >>> print(curvature.product(np.ones(curvature.size)).round(3))
    [4.   1.   0.25]
    """

    def __init__(
        self,
        objective: Objective,
        gauss_newton: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.size = objective.size
        self.dtype = objective.dtype
        self.num_products = 0
        self._objective = objective
        self._gauss_newton = bool(gauss_newton)
        self._progress = progress

    def product(self, vector: np.ndarray) -> np.ndarray:
        """Return the matrix times a vector of shape `(size,)`."""
        image = self._product(vector)
        self.num_products += 1
        if self._progress is not None:
            self._progress.advance()
        return image

    def check_symmetry(self, generator: np.random.Generator) -> None:
        """Check that products are those of a symmetric matrix.

        The two products of the check are not counted. A Gauss-Newton matrix
        is not checked: it is symmetric by construction.

        Args:
            generator: Draws two vectors, before it draws the probes. One seed
                therefore gives other probes for a Gauss-Newton matrix.

        Raises:
            ValueError: If products are not symmetric or not finite, because a
                layer has a wrong second derivative or too low a precision.
        """
        if self._gauss_newton:
            return
        first, second = generator.standard_normal((2, self.size))
        left = self._product(first).astype("float64")
        right = self._product(second).astype("float64")
        # For independent normal a and b, a . (H b) is of the order of ||H b||:
        # with this scale the gap is of order 1 if H is not symmetric at all.
        scale = np.linalg.norm(left) + np.linalg.norm(right)
        with np.errstate(invalid="ignore"):
            gap = abs(first @ right - second @ left) / (scale or 1.0)
        # Not `gap > ASYMMETRY`, which is false for NaN.
        if not gap <= ASYMMETRY:
            raise ValueError(
                "The second derivatives of this model are not symmetric or "
                "not finite, so that its Hessian cannot be measured: a layer "
                "or the loss has a wrong custom gradient, or precision "
                "is too low. Gauss-Newton products need no second derivative "
                "of the network: `gauss_newton=True`. Received: an asymmetry "
                f"of {gap:.2g}"
            )

    def common(self) -> dict[str, Any]:
        """Return the fields that all its results have."""
        return {"gauss_newton": self._gauss_newton, **common(self._objective)}

    def _product(self, vector: np.ndarray) -> np.ndarray:
        objective = self._objective
        direction = objective.split(vector)
        total = np.zeros(self.size, self.dtype)
        for batch, share in objective.batches:
            total += share * objective.product(
                direction, batch, self._gauss_newton
            )
        return total
