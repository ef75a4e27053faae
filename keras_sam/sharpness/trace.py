"""The trace of the Hessian, from random vectors."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from keras_sam import validation
from keras_sam.sharpness.curvature import Curvature
from keras_sam.sharpness.lanczos import SymmetricOperator
from keras_sam.sharpness.objective import Objective
from keras_sam.sharpness.objective import objective_of
from keras_sam.sharpness.progress import Progress
from keras_sam.sharpness.results import CurvatureResult

MIN_PROBES = 10
"""With fewer, the standard error is too uncertain to stop by."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HessianTrace(CurvatureResult):
    """The trace of a Hessian, with its error.

    `keras_sam.sharpness.hessian_trace` returns it.

    Attributes:
        trace: The estimate.
        standard_error: Of the estimate, from the standard deviation over
            probes.
        converged: Whether the standard error is small enough.
        num_probes: The number of random vectors.
    """

    measure = "hessian_trace"

    trace: float
    standard_error: float
    converged: bool
    num_probes: int

    def __str__(self) -> str:
        mark = "" if self.converged else ", not converged"
        return (
            f"trace of the {self.matrix}: {self.trace:.6g} +- "
            f"{self.standard_error:.2g} ({self.num_probes} probes{mark})\n"
            f"{self.heading()}"
        )


def hessian_trace(
    model: keras.Model | Objective,
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    *,
    rank: int = 10,
    gauss_newton: bool = False,
    max_probes: int = 200,
    tolerance: float = 0.05,
    seed: int = 0,
    verbose: int = 1,
    **options: Any,
) -> HessianTrace:
    """Estimate the trace of the Hessian of the loss.

    Hutch++ (Meyer et al., 2021, https://arxiv.org/abs/2010.09649, algorithm
    1): with S of `rank` random columns and Q an orthonormal basis of H S,
    tr(H) = tr(Q^T H Q) + tr(P H P), P = 1 - Q Q^T. The first term is exact
    and contains the few large eigenvalues of a network; the second is the mean
    of z^T P H P z over random signs z. Deviation: the number of z is not fixed
    as in the paper; at least 10 are drawn, until the standard error of the
    mean is small enough.

    Args:
        model: A compiled `keras.Model`, or an `Objective` instead of all data
            and options.
        x: Inputs, or batches; see `Objective`.
        y: Targets.
        sample_weight: Weights of examples.
        rank: Columns of S, each of which costs two products; 0 for
            Hutchinson's estimator, which has no first term.
        gauss_newton: See `hessian_eigenvalues`.
        max_probes: The maximum number of z, at least 2.
        tolerance: The standard error is small enough if it is at most
            `tolerance` times the magnitude of the trace.
        seed: Of the random signs.
        verbose: 0 for silence, 1 for a progress bar on long work.
        **options: Those of `Objective`.

    Returns:
        `HessianTrace`. If `rank` is at least the number of weights, the trace
        is exact and the standard error 0.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.hessian_trace(model, x, y, rank=3)
    >>> print(f"{result.trace:.3f} +- {result.standard_error:.3f}")
    5.250 +- 0.000

    Raises:
        ValueError: If an argument is invalid, or if the model is random
            in the chosen mode or has no symmetric second derivatives.
    """
    rank = validation.integer("rank", rank, least=0)
    max_probes = validation.integer("max_probes", max_probes, least=2)
    objective = objective_of(model, (x, y, sample_weight), options)
    rank = min(rank, objective.size)
    progress = Progress(2 * rank + max_probes, verbose)
    curvature = Curvature(objective, gauss_newton, progress)
    generator = np.random.default_rng(seed)
    curvature.check_symmetry(generator)
    trace, error, probes = hutch_plus_plus(
        curvature, rank, max_probes, tolerance, generator
    )
    progress.finish()
    return HessianTrace(
        trace=trace,
        standard_error=error,
        converged=bool(error <= tolerance * abs(trace)),
        num_probes=probes,
        **curvature.common(),
    )


def hutch_plus_plus(
    operator: SymmetricOperator,
    rank: int,
    max_probes: int,
    tolerance: float,
    generator: np.random.Generator,
) -> tuple[float, float, int]:
    """Return the trace of a symmetric matrix, its error, and the probes.

    Args:
        operator: The matrix, as its products.
        rank: At most `operator.size`.
        max_probes: At least 2.
        tolerance: Relative to the trace.
        generator: Draws signs.

    Returns:
        Trace, standard error, number of probes.
    """
    size = operator.size

    def signs() -> np.ndarray:
        return generator.choice((-1.0, 1.0), size)

    def product(vector: np.ndarray) -> np.ndarray:
        return operator.product(vector).astype("float64")

    exact, basis = 0.0, np.zeros((size, 0))
    if rank:
        sketch = np.stack([product(signs()) for _ in range(rank)], axis=1)
        basis = np.linalg.qr(sketch)[0]
        # P^2 = P, so that tr(P H P) = tr(H) - tr(Q^T H Q): both terms enter
        # with a factor of 1, also the mean over probes, since E[z z^T] = 1.
        exact = sum(float(q @ product(q)) for q in basis.T)
    if rank == size:
        return exact, 0.0, 0
    samples: list[float] = []
    while True:
        probe = signs()
        probe -= basis @ (basis.T @ probe)
        samples.append(float(probe @ product(probe)))
        count = len(samples)
        if count < min(MIN_PROBES, max_probes):
            continue
        trace = exact + float(np.mean(samples))
        error = float(np.std(samples, ddof=1)) / math.sqrt(count)
        if error <= tolerance * abs(trace) or count == max_probes:
            return trace, error, count
