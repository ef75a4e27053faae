"""The average rise of the loss under random perturbations."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from keras_sam import validation
from keras_sam.sharpness.objective import Objective
from keras_sam.sharpness.objective import objective_of
from keras_sam.sharpness.progress import Progress
from keras_sam.sharpness.results import Result
from keras_sam.sharpness.results import common
from keras_sam.sharpness.worst_case import check_radius


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AverageSharpness(Result):
    """The mean rise of the loss under random perturbations.

    `keras_sam.sharpness.average_sharpness` returns it.

    Attributes:
        sharpness: The mean of L(w + e) - L(w) over e.
        standard_error: Of the mean.
        rho: The scale of e.
        norm: `"l2"` for Gaussian e, `"linf"` for uniform ones.
        adaptive: Whether e is scaled by the weights.
        num_draws: The number of e.
    """

    measure = "average_sharpness"

    sharpness: float
    standard_error: float
    rho: float
    norm: str
    adaptive: bool
    num_draws: int

    def __str__(self) -> str:
        name = "adaptive " * self.adaptive + self.norm
        return (
            f"average sharpness at {self.rho:.4g} ({name}): "
            f"{self.sharpness:.6g} +- {self.standard_error:.2g} "
            f"({self.num_draws} draws)\n{self.heading()}"
        )


def average_sharpness(
    model: keras.Model | Objective,
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    *,
    rho: float = 0.05,
    norm: str = "l2",
    adaptive: bool = False,
    num_draws: int = 20,
    seed: int = 0,
    verbose: int = 1,
    **options: Any,
) -> AverageSharpness:
    """Return the average rise of the loss under random perturbations.

    As in Andriushchenko et al. (2023, https://arxiv.org/abs/2302.07011), e has
    independent elements, Gaussian of standard deviation `rho` or uniform in
    +-`rho`. The length of a Gaussian e is therefore about `rho` times the
    square root of the number of weights. Every draw is evaluated on all data.

    Args:
        model: A compiled `keras.Model`, or an `Objective` instead of all data
            and options.
        x: Inputs, or batches; see `Objective`.
        y: Targets.
        sample_weight: Weights of examples.
        rho: Scale of each element, above 0. The paper uses 0.05 to 0.4 for
            adaptive `"l2"` and 0.1 to 0.8 for adaptive `"linf"`.
        norm: `"l2"` for Gaussian noise, `"linf"` for uniform noise.
        adaptive: Multiply e elementwise by |w|.
        num_draws: At least 2. 20 in the paper's code.
        seed: Of the draws.
        verbose: 0 for silence, 1 for a progress bar on long work.
        **options: Those of `Objective`.

    Returns:
        `AverageSharpness`.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.average_sharpness(model, x, y, rho=0.1)
    >>> print(f"{result.sharpness:.4f} +- {result.standard_error:.4f}")
    0.0293 +- 0.0059

    Raises:
        ValueError: If an argument is invalid, or if the model is random
            in the chosen mode.
    """
    check_radius(rho, norm)
    num_draws = validation.integer("num_draws", num_draws, least=2)
    objective = objective_of(model, (x, y, sample_weight), options)
    generator = np.random.default_rng(seed)
    weights = objective.weights.astype("float64")
    scale = rho * (np.abs(weights) if adaptive else 1.0)
    progress = Progress(num_draws, verbose)
    rises = []
    for _ in range(num_draws):
        if norm == "l2":
            noise = generator.standard_normal(objective.size)
        else:
            noise = generator.uniform(-1, 1, objective.size)
        rises.append(objective.loss(weights + scale * noise) - objective.value)
        progress.advance()
    return AverageSharpness(
        sharpness=float(np.mean(rises)),
        standard_error=float(np.std(rises, ddof=1)) / math.sqrt(num_draws),
        rho=float(rho),
        norm=norm,
        adaptive=bool(adaptive),
        num_draws=num_draws,
        **common(objective),
    )
