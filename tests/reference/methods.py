"""The sharpness-aware family as the papers and authors' codes print it.

NumPy and float64, one flat vector of weights, nothing imported from
`keras_sam`. A method is what it does on a step with a second pass (`climb`)
and, if there are other steps, when that is (`climbs`) and what is followed
instead (`stay`). `g` is the gradient at w, `h` the one at w + e.
"""

import math
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import numpy as np


class Climb(NamedTuple):
    """What the two passes over one part of a batch give.

    Attributes:
        e: The perturbation.
        update: What the optimizer is given.
        memory: What the method remembers; a dictionary of numbers and vectors.
        correction: What is subtracted past the optimizer, times its rate.
    """

    e: np.ndarray
    update: np.ndarray
    memory: dict[str, Any]
    correction: np.ndarray | float = 0.0


class At(NamedTuple):
    """Where a step begins.

    Attributes:
        weight: Vector w.
        rho: Number > 0.
        chosen: Boolean vector, which weights are perturbed.
        is_matrix: Boolean vector, which weights are those of matrices.
        memory: What the method remembers.
        velocity: The momentum of the optimizer, as Keras' SGD keeps it:
            `velocity = momentum * velocity - learning_rate * update`.
        g: The gradient at w.
        gradient: The gradient of the part as a function of the weights.
    """

    weight: np.ndarray
    rho: float
    chosen: np.ndarray
    is_matrix: np.ndarray
    memory: dict[str, Any]
    velocity: np.ndarray
    g: np.ndarray | None = None
    gradient: Callable[[np.ndarray], np.ndarray] | None = None


class Method(NamedTuple):
    """What tells the methods apart.

    Attributes:
        climb: `At -> Climb`.
        start: Size of the weights to the first memory.
        climbs: `(t, squared_norm, memory) -> (whether, memory)` at step t,
            counted from 0; `squared_norm` is the mean over the parts.
        stay: `(g, memory) -> update`, without a second pass; both of the
            perturbed weights alone.
        remember: `(g, memory) -> memory`, what a step with g leaves that does
            not climb because the radius is 0.
        is_blind: Whether there is no pass at w.
    """

    climb: Callable[[At], Climb]
    start: Callable[[int], dict[str, Any]] = lambda size: {}
    climbs: Callable[..., Any] = lambda t, square, memory: (True, memory)
    stay: Callable[..., np.ndarray] = lambda g, memory: g
    remember: Callable[..., dict[str, Any]] = lambda g, memory: memory
    is_blind: bool = False


def norm(vector):
    return np.linalg.norm(vector)


def unit(vector):
    """Return the direction of a vector; zero for zero."""
    return vector / norm(vector) if np.any(vector) else vector


def ascent(at, direction):
    """Return rho times the unit vector along the chosen part of a direction."""
    return at.rho * unit(np.where(at.chosen, direction, 0.0))


def sam():
    """Foret et al., 2021, equation 2 with p = 2, equation 3."""

    def climb(at):
        e = ascent(at, at.g)
        return Climb(e, at.gradient(at.weight + e), at.memory)

    return Method(climb)


def asam(eta):
    """Kwon et al., 2021, equation 8 with p = 2 and the authors' operator."""

    def climb(at):
        t = np.where(at.is_matrix, np.abs(at.weight) + eta, 1.0)
        e = t * ascent(at, t * at.g)
        return Climb(e, at.gradient(at.weight + e), at.memory)

    return Method(climb)


def gsam(alpha):
    """Zhuang et al., 2022, algorithm 1."""

    def climb(at):
        e = ascent(at, at.g)
        h = at.gradient(at.weight + e)
        u = unit(h)
        g_orthogonal = at.g - (at.g @ u) * u
        return Climb(e, h - alpha * g_orthogonal, at.memory)

    return Method(climb)


def weighted_sam(gamma, decoupled):
    """Yue et al., 2023, algorithms 1 and 2 with the sharpness decoupled."""

    def climb(at):
        e = ascent(at, at.g)
        h = at.gradient(at.weight + e)
        a = gamma / (1 - gamma)
        if decoupled:
            return Climb(e, at.g, at.memory, a * (h - at.g))
        return Climb(e, (1 - a) * at.g + a * h, at.memory)

    return Method(climb)


def friendly_sam(sigma, decay):
    """Li et al., 2024, as the authors' code has it.

    The first step subtracts nothing and starts the average with its gradient;
    each later one subtracts the average from before it.
    """

    def remember(g, memory):
        m = decay * memory["m"] + (1 - decay) * g if memory["has_m"] else g
        return {"m": m, "has_m": 1.0}

    def climb(at):
        m = at.memory["m"]
        e = ascent(at, at.g - sigma * m if at.memory["has_m"] else at.g)
        h = at.gradient(at.weight + e)
        return Climb(e, h, remember(at.g, at.memory))

    return Method(
        climb,
        lambda size: {"m": np.zeros(size), "has_m": 0.0},
        remember=remember,
    )


def vasso(theta):
    """Li and Giannakis, 2023."""

    def remember(g, memory):
        return {"d": (1 - theta) * memory["d"] + theta * g}

    def climb(at):
        memory = remember(at.g, at.memory)
        e = ascent(at, memory["d"])
        return Climb(e, at.gradient(at.weight + e), memory)

    return Method(climb, lambda size: {"d": np.zeros(size)}, remember=remember)


def stable_sam():
    """Tan et al., 2025."""

    def climb(at):
        e = ascent(at, at.g)
        h = at.gradient(at.weight + e)
        return Climb(e, h * norm(at.g) / norm(h), at.memory)

    return Method(climb)


def momentum_sam():
    """Becker et al., 2024: along the velocity of the optimizer itself."""

    def climb(at):
        e = ascent(at, at.velocity)
        return Climb(e, at.gradient(at.weight + e), at.memory)

    return Method(climb, is_blind=True)


def look_sam(period, alpha):
    """Liu et al., 2022, algorithm 1."""

    def climb(at):
        e = ascent(at, at.g)
        h = at.gradient(at.weight + e)
        g, h_chosen = (np.where(at.chosen, v, 0.0) for v in (at.g, h))
        h_parallel = (h_chosen @ g) / (g @ g) * g
        return Climb(e, h, {"v": h_chosen - h_parallel})

    def stay(g, memory):
        return g + alpha * norm(g) * unit(memory["v"])

    return Method(
        climb,
        lambda size: {"v": np.zeros(size)},
        lambda t, square, memory: (t % period == 0, memory),
        stay,
    )


def ae_sam(threshold, decay):
    """Jiang et al., 2023; the mean starts with the first squared norm."""

    def climbs(t, square, memory):
        mu = square
        if memory["has_mu"]:
            mu = decay * memory["mu"] + (1 - decay) * square
        s2 = decay * memory["s2"] + (1 - decay) * (square - mu) ** 2
        is_long = square >= mu + threshold(t) * math.sqrt(s2)
        return is_long, {"mu": mu, "s2": s2, "has_mu": True}

    return Method(
        sam().climb,
        lambda size: {"mu": 0.0, "s2": 0.0, "has_mu": False},
        climbs,
    )
