"""The spectral density of the Hessian, by stochastic Lanczos quadrature."""

import dataclasses
import math
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

MARGIN = 5
"""Widths of the smoothing kernel beyond the outermost Ritz values."""
ROUNDING = 1e-5
"""Relative difference of one eigenvalue between probes, in float32."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SpectralDensity(CurvatureResult):
    """The distribution of the eigenvalues of a Hessian.

    `keras_sam.sharpness.spectral_density` returns it.

    Attributes:
        grid: Shape `(num_points,)`, increasing.
        density: Shape `(num_points,)`, the smoothed share of eigenvalues per
            unit. Its integral is 1.
        standard_error: Shape `(num_points,)`, of the density, from the
            standard deviation over probes.
        width: Standard deviation of the Gaussian that every eigenvalue is
            smoothed with.
        ritz_values: Shape `(num_probes, steps)`, nodes of the quadrature.
        ritz_weights: Shape `(num_probes, steps)`, weights that sum to 1.
    """

    measure = "spectral_density"

    grid: Annotated[np.ndarray, ("num_points",)]
    density: Annotated[np.ndarray, ("num_points",)]
    standard_error: Annotated[np.ndarray, ("num_points",)]
    width: float
    ritz_values: Annotated[np.ndarray, ("num_probes", "steps")]
    ritz_weights: Annotated[np.ndarray, ("num_probes", "steps")]

    @property
    def negative_share(self) -> float:
        """The share of eigenvalues below minus one width."""
        below = self.ritz_values < -self.width
        return float((self.ritz_weights * below).sum(axis=1).mean())

    def __str__(self) -> str:
        probes, steps = self.ritz_values.shape
        return (
            f"spectral density of the {self.matrix}: {probes} probes, {steps} "
            f"steps, width {self.width:.3g}\n{self.heading()}\n"
            f"from {self.ritz_values.min():.4g} to "
            f"{self.ritz_values.max():.4g}; {self.negative_share:.1%} of the "
            f"eigenvalues below {-self.width:.3g}"
        )


def spectral_density(
    model: keras.Model | Objective,
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    *,
    steps: int = 90,
    num_probes: int = 10,
    width: float | None = None,
    num_points: int = 1000,
    gauss_newton: bool = False,
    seed: int = 0,
    verbose: int = 1,
    **options: Any,
) -> SpectralDensity:
    """Estimate the distribution of the eigenvalues of the Hessian.

    Stochastic Lanczos quadrature (Ghorbani et al., 2019,
    https://arxiv.org/abs/1901.10159, algorithm 1): for each random unit vector
    v, `steps` steps of Lanczos' method give nodes and weights of a quadrature
    of v^T f(H) v, whose mean over v is tr(f(H)) / n. Here f is a Gaussian
    around a point of the grid.

    Args:
        model: A compiled `keras.Model`, or an `Objective` instead of all data
            and options.
        x: Inputs, or batches; see `Objective`.
        y: Targets.
        sample_weight: Weights of examples.
        steps: Products for each probe, at most as many as there are weights.
            Ghorbani et al. and figure 3 of Foret et al. (2021) use 90.
        num_probes: Random vectors, at least 2. The code of Ghorbani et al.
            draws 10.
        width: Standard deviation of the Gaussian; by default the range of the
            Ritz values over `steps`, about the resolution of that many steps.
        num_points: Of the grid, which covers the range and a margin.
        gauss_newton: See `hessian_eigenvalues`.
        seed: Of the probes.
        verbose: 0 for silence, 1 for a progress bar on long work.
        **options: Those of `Objective`.

    Returns:
        `SpectralDensity`.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.spectral_density(model, x, y, num_probes=2)
    >>> print(result.ritz_values.round(3))
    [[0.25 1.   4.  ]
     [0.25 1.   4.  ]]

    Raises:
        ValueError: If an argument is invalid, or if the model is random
            in the chosen mode or has no symmetric second derivatives.
    """
    steps = validation.integer("steps", steps)
    num_probes = validation.integer("num_probes", num_probes, least=2)
    if width is not None:
        width = validation.number("width", width, "(0, inf)")
    objective = objective_of(model, (x, y, sample_weight), options)
    steps = min(steps, objective.size)
    progress = Progress(num_probes * steps, verbose)
    curvature = Curvature(objective, gauss_newton, progress)
    generator = np.random.default_rng(seed)
    curvature.check_symmetry(generator)
    values, weights = quadrature(curvature, steps, num_probes, generator)
    progress.finish()
    grid, density, error, width = smooth(values, weights, width, num_points)
    return SpectralDensity(
        grid=grid,
        density=density,
        standard_error=error,
        width=width,
        ritz_values=values,
        ritz_weights=weights,
        **curvature.common(),
    )


def quadrature(
    operator: SymmetricOperator,
    steps: int,
    num_probes: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights, each of shape `(num_probes, steps)`.

    A probe whose Krylov space ends early has weights of 0 at the end.
    """
    values = np.zeros((num_probes, steps))
    weights = np.zeros((num_probes, steps))
    for probe in range(num_probes):
        lanczos = Lanczos(operator, generator, steps)
        while lanczos.step() and lanczos.steps < steps:
            pass
        # In the Lanczos basis the probe v is the first unit vector, and H is
        # T = S diag(nodes) S^T: v^T f(H) v = sum_i S[0, i]^2 f(nodes[i]).
        nodes, vectors = lanczos.ritz()
        # Padding with a node of weight 0 changes neither sum nor range.
        values[probe] = nodes[-1]
        values[probe, : len(nodes)] = nodes
        weights[probe, : len(nodes)] = vectors[0] ** 2
    return values, weights


def smooth(
    values: np.ndarray,
    weights: np.ndarray,
    width: float | None,
    num_points: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return grid, mean density over probes, its standard error, and width."""
    low, high = values.min(), values.max()
    if width is None:
        extent = high - low
        if extent <= ROUNDING * abs(high):
            # A single eigenvalue has no range: its magnitude is the scale.
            extent = abs(high) or 1.0
        width = float(extent / values.shape[1])
    grid = np.linspace(low - MARGIN * width, high + MARGIN * width, num_points)
    each = np.zeros((len(values), num_points))
    for i, nodes in enumerate(values):
        distance = (grid[:, None] - nodes) / width
        each[i] = np.exp(-(distance**2) / 2) @ weights[i]
    each /= width * math.sqrt(2 * math.pi)
    error = each.std(axis=0, ddof=1) / math.sqrt(len(each))
    return grid, each.mean(axis=0), error, width
