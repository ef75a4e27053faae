"""The extreme eigenvalues of the Hessian."""

import dataclasses
from typing import Annotated
from typing import Any

import keras
import numpy as np

from keras_sam import validation
from keras_sam.sharpness.curvature import Curvature
from keras_sam.sharpness.lanczos import Lanczos
from keras_sam.sharpness.lanczos import SymmetricOperator
from keras_sam.sharpness.objective import Objective
from keras_sam.sharpness.objective import objective_of
from keras_sam.sharpness.progress import Progress
from keras_sam.sharpness.results import CurvatureResult


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HessianEigenvalues(CurvatureResult):
    """Eigenvalues of a Hessian. Prints as a table.

    `keras_sam.sharpness.hessian_eigenvalues` returns it.

    Attributes:
        eigenvalues: Shape `(k,)`, the most extreme first.
        residuals: Shape `(k,)`, the norm of H v - lambda v for the unit
            eigenvector v. An eigenvalue of H is at most that far away.
        converged: Shape `(k,)`, whether the residual is small enough.
        num_products: The number of Hessian-vector products.
    """

    measure = "hessian_eigenvalues"

    eigenvalues: Annotated[np.ndarray, ("k",)]
    residuals: Annotated[np.ndarray, ("k",)]
    converged: Annotated[np.ndarray, ("k",)]
    num_products: int

    @property
    def ratio(self) -> float:
        """The first eigenvalue over the last.

        With `k=5` it is the ratio that Foret et al. (2021) report with the
        largest eigenvalue, in figure 3.
        """
        return float(self.eigenvalues[0] / self.eigenvalues[-1])

    def __str__(self) -> str:
        lines = [
            f"eigenvalues of the {self.matrix}: {self.heading()}",
            f"{'':>4}  {'eigenvalue':>12}  {'residual':>9}",
        ]
        rows = zip(self.eigenvalues, self.residuals, self.converged)
        for i, (value, residual, converged) in enumerate(rows, 1):
            mark = "" if converged else "  not converged"
            lines.append(f"{i:>4}  {value:>12.6g}  {residual:>9.2g}{mark}")
        last = len(self.eigenvalues)
        if last > 1:
            lines.append(f"ratio of 1 to {last}: {self.ratio:.4g}")
        return "\n".join(lines)


def hessian_eigenvalues(
    model: keras.Model | Objective,
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    *,
    k: int = 5,
    which: str = "LA",
    gauss_newton: bool = False,
    max_products: int = 200,
    tolerance: float = 1e-4,
    seed: int = 0,
    verbose: int = 1,
    **options: Any,
) -> HessianEigenvalues:
    """Return the extreme eigenvalues of the Hessian of the loss.

    By Lanczos' method with full re-orthogonalization, which stores one vector
    of the size of the weights for each product. As with every Krylov method,
    only one of several equal eigenvalues is found, unless there are as many
    products as weights.

    Args:
        model: A compiled `keras.Model`, or an `Objective` instead of all data
            and options.
        x: Inputs, or batches; see `Objective`.
        y: Targets.
        sample_weight: Weights of examples.
        k: The number of eigenvalues, from 1 to the number of weights.
        which: `"LA"` for the largest, `"SA"` for the smallest (most
            negative), `"LM"` for the largest in magnitude, as in SciPy.
        gauss_newton: Use J^T H J instead of the Hessian, J the derivative of
            the outputs of the model by the weights and H the Hessian of the
            loss by these outputs. It has no negative eigenvalue if the loss is
            convex in the outputs. For the generalized Gauss-Newton matrix of
            a classifier, the outputs must be logits.
        max_products: The maximum number of products, not counting the `k` for
            the residuals and the two that check symmetry.
        tolerance: A residual is small enough if it is at most `tolerance`
            times the largest magnitude of an eigenvalue found. Products in
            float32 have errors of about 1e-6.
        seed: Of the first vector.
        verbose: 0 for silence, 1 for a progress bar on long work.
        **options: Those of `Objective`: `variables`, `training`, `loss`,
            `batch_size`.

    Returns:
        `HessianEigenvalues`.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.hessian_eigenvalues(model, x, y, k=2)
    >>> print(result.eigenvalues.round(3), result.converged)
    [4. 1.] [ True  True]

    Raises:
        ValueError: If an argument is invalid, or if the model is random
            in the chosen mode or has no symmetric second derivatives.
    """
    if which not in ("LA", "SA", "LM"):
        raise ValueError(
            f'`which` must be "LA", "SA" or "LM". Received: which={which!r}'
        )
    objective = objective_of(model, (x, y, sample_weight), options)
    k = validation.integer("k", k)
    if k > min(objective.size, max_products):
        raise ValueError(
            "`k` must be from 1 to the number of weights and of products. "
            f"Received: k={k}, {objective.size} weights, "
            f"max_products={max_products}"
        )
    limit = min(max_products, objective.size)
    progress = Progress(limit + k, verbose)
    curvature = Curvature(objective, gauss_newton, progress)
    generator = np.random.default_rng(seed)
    curvature.check_symmetry(generator)
    values, vectors = extreme_eigenpairs(
        curvature, k, which, limit, tolerance, generator
    )
    images = [curvature.product(vector) for vector in vectors]
    progress.finish()
    residuals = np.array([
        np.linalg.norm(image - value * vector)
        for image, value, vector in zip(images, values, vectors)
    ])
    return HessianEigenvalues(
        eigenvalues=values,
        residuals=residuals,
        converged=residuals <= tolerance * np.abs(values).max(),
        num_products=curvature.num_products,
        **curvature.common(),
    )


def extreme_eigenpairs(
    operator: SymmetricOperator,
    k: int,
    which: str,
    max_steps: int,
    tolerance: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return k eigenvalues and eigenvectors of a symmetric matrix.

    Args:
        operator: The matrix, as its products.
        k: The number of eigenvalues.
        which: `"LA"`, `"SA"` or `"LM"`.
        max_steps: At least `k`, at most `operator.size`.
        tolerance: Relative to the largest magnitude.
        generator: Draws starting vectors.

    Returns:
        Eigenvalues, the most extreme first, of shape `(k,)`, and eigenvectors,
        of shape `(k, size)`.
    """
    lanczos = Lanczos(operator, generator, max_steps)
    while True:
        has_next = lanczos.step()
        values, vectors = lanczos.ritz()
        order = _order(values, which)[:k]
        # H Q = Q T + beta q e^T, q the next vector and e the last unit vector,
        # so the residual of the Ritz vector Q s is |beta s[-1]|: no product.
        bounds = np.abs(lanczos.off_diagonal[-1] * vectors[-1, order])
        limit = tolerance * np.abs(values[order]).max()
        is_done = has_next and len(order) == k and (bounds <= limit).all()
        if is_done or lanczos.steps == max_steps:
            break
        # The basis is invariant: its Ritz pairs are exact, but eigenvectors
        # orthogonal to the first vector are missing until a restart.
        if not has_next:
            lanczos.restart()
    pairs = lanczos.combine(vectors[:, order])
    return values[order], pairs / np.linalg.norm(pairs, axis=1, keepdims=True)


def _order(values: np.ndarray, which: str) -> np.ndarray:
    key = {"LA": -values, "SA": values, "LM": -np.abs(values)}[which]
    return np.argsort(key, kind="stable")
