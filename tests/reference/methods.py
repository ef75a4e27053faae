"""The sharpness-aware family as the papers and authors' codes print it.

NumPy and float64, one flat vector of weights, nothing imported from
`keras_sam`. A method is a step with a second pass (`two_passes`) and, if some
steps are plain, the decision (`decide`) and the gradient that is then applied
(`reuse`). `g` is the gradient at w, `h` the one at w + e.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import numpy as np


class PartResult(NamedTuple):
    """The result of both passes over one part of a batch.

    Attributes:
        e: The perturbation.
        update: The gradient for the optimizer.
        state: The method's state, a dictionary of numbers and vectors.
        correction: Is subtracted past the optimizer, times its rate.
    """

    e: np.ndarray
    update: np.ndarray
    state: dict[str, Any]
    correction: np.ndarray | float = 0.0


class At(NamedTuple):
    """The start of a step.

    Attributes:
        weight: Vector w.
        rho: Number > 0.
        chosen: Boolean vector, which weights are perturbed.
        is_matrix: Boolean vector, which weights are those of matrices.
        state: The method's state.
        velocity: The momentum of the optimizer, as in Keras' SGD:
            `velocity = momentum * velocity - learning_rate * update`.
        g: The gradient at w.
        gradient: The gradient of the part as a function of the weights, and of
            those that the gradients by the outputs are held at, if any.
        shapes: Of the arrays that the weights consist of.
    """

    weight: np.ndarray
    rho: float
    chosen: np.ndarray
    is_matrix: np.ndarray
    state: dict[str, Any]
    velocity: np.ndarray
    g: np.ndarray | None = None
    gradient: Callable[..., np.ndarray] | None = None
    shapes: list[tuple[int, ...]] | None = None


class Method(NamedTuple):
    """A method, as functions of numbers and vectors.

    Attributes:
        two_passes: `At -> PartResult`.
        start: Returns the first state, given the number of weights.
        decide: `(t, squared_norm, state) -> (whether, state)` at step t,
            counted from 0; `squared_norm` is the mean over the parts.
        reuse: `(g, state) -> update`, without a second pass; both of the
            perturbed weights alone.
        remember: `(g, state) -> state`, at a step that has no second pass
            because the radius is 0.
        is_one_pass: Whether there is no pass at w.
    """

    two_passes: Callable[[At], PartResult]
    start: Callable[[int], dict[str, Any]] = lambda size: {}
    decide: Callable[..., Any] = lambda t, square, state: (True, state)
    reuse: Callable[..., np.ndarray] = lambda g, state: g
    remember: Callable[..., dict[str, Any]] = lambda g, state: state
    is_one_pass: bool = False


def norm(vector):
    return np.linalg.norm(vector)


def unit(vector):
    """Return the direction of a vector; zero for zero."""
    return vector / norm(vector) if np.any(vector) else vector


def ascent(at, direction):
    """Return rho times the unit vector along the chosen part of a direction."""
    return at.rho * unit(np.where(at.chosen, direction, 0.0))


def adaptive_ascent(at, direction, eta):
    """Return the same in the metric of ASAM."""
    t = np.where(at.is_matrix, np.abs(at.weight) + eta, 1.0)
    return t * ascent(at, t * direction)


def sam():
    """Foret et al., 2021, equation 2 with p = 2, equation 3."""

    def two_passes(at):
        e = ascent(at, at.g)
        return PartResult(e, at.gradient(at.weight + e), at.state)

    return Method(two_passes)


def asam(eta):
    """Kwon et al., 2021, equation 8 with p = 2 and the authors' operator."""

    def two_passes(at):
        e = adaptive_ascent(at, at.g, eta)
        return PartResult(e, at.gradient(at.weight + e), at.state)

    return Method(two_passes)


def gsam(alpha, eta=None):
    """Zhuang et al., 2022, algorithm 1; with an eta, in the metric of ASAM."""

    def two_passes(at):
        e = ascent(at, at.g)
        if eta is not None:
            e = adaptive_ascent(at, at.g, eta)
        h = at.gradient(at.weight + e)
        u = unit(h)
        g_orthogonal = at.g - (at.g @ u) * u
        return PartResult(e, h - alpha * g_orthogonal, at.state)

    return Method(two_passes)


def weighted_sam(gamma, decoupled):
    """Yue et al., 2023, algorithms 1 and 2 with the sharpness decoupled."""

    def two_passes(at):
        e = ascent(at, at.g)
        h = at.gradient(at.weight + e)
        a = gamma / (1 - gamma)
        if decoupled:
            return PartResult(e, at.g, at.state, a * (h - at.g))
        return PartResult(e, (1 - a) * at.g + a * h, at.state)

    return Method(two_passes)


def friendly_sam(sigma, decay):
    """Li et al., 2024, as the authors' code has it.

    The first step subtracts nothing and starts the average with its gradient;
    each later one subtracts the average from before it.
    """

    def remember(g, state):
        m = decay * state["m"] + (1 - decay) * g if state["has_m"] else g
        return {"m": m, "has_m": 1.0}

    def two_passes(at):
        m = at.state["m"]
        e = ascent(at, at.g - sigma * m if at.state["has_m"] else at.g)
        h = at.gradient(at.weight + e)
        return PartResult(e, h, remember(at.g, at.state))

    return Method(
        two_passes,
        lambda size: {"m": np.zeros(size), "has_m": 0.0},
        remember=remember,
    )


def vasso(theta):
    """Li and Giannakis, 2023; as in the authors' code, d starts with g."""

    def remember(g, state):
        d = (1 - theta) * state["d"] + theta * g if state["has_d"] else g
        return {"d": d, "has_d": 1.0}

    def two_passes(at):
        state = remember(at.g, at.state)
        e = ascent(at, state["d"])
        return PartResult(e, at.gradient(at.weight + e), state)

    return Method(
        two_passes,
        lambda size: {"d": np.zeros(size), "has_d": 0.0},
        remember=remember,
    )


def stable_sam(normalized=True):
    """Tan et al., 2025: `sam.py` of the authors' code, or `usam.py`."""

    def two_passes(at):
        e = ascent(at, at.g)
        if not normalized:
            e = at.rho * np.where(at.chosen, at.g, 0.0)
        h = at.gradient(at.weight + e)
        return PartResult(e, h * norm(at.g) / norm(h), at.state)

    return Method(two_passes)


def momentum_sam():
    """Becker et al., 2024: along the velocity of the optimizer itself."""

    def two_passes(at):
        e = ascent(at, at.velocity)
        return PartResult(e, at.gradient(at.weight + e), at.state)

    return Method(two_passes, is_one_pass=True)


def le_sam(max_radius, eta=None):
    """Wang et al., 2026; with an eta, in the metric of ASAM."""

    def two_passes(at):
        # In a metric the slope along the steepest direction is ||T g||.
        t = 1.0
        if eta is not None:
            t = np.where(at.is_matrix, np.abs(at.weight) + eta, 1.0)
        slope = norm(np.where(at.chosen, t * at.g, 0.0))
        radius = min(at.rho / slope, max_radius)
        e = t * ascent(at._replace(rho=radius), t * at.g)
        return PartResult(e, at.gradient(at.weight + e), at.state)

    return Method(two_passes)


def functional_sam():
    """Singh et al., 2025, without the change of the gradient by the outputs."""

    def two_passes(at):
        e = ascent(at, at.g)
        return PartResult(e, at.gradient(at.weight + e, at.weight), at.state)

    return Method(two_passes)


def preconditioned_sam(beta, epsilon):
    """Singh et al., 2025, with the second moment of Kingma and Ba, 2015."""

    def remember(g, state):
        v = beta * state["v"] + (1 - beta) * g**2
        return {"v": v, "t": state["t"] + 1}

    def two_passes(at):
        state = remember(at.g, at.state)
        v = state["v"] / (1 - beta ** state["t"])
        e = ascent(at, at.g / (np.sqrt(v) + epsilon))
        return PartResult(e, at.gradient(at.weight + e), state)

    return Method(
        two_passes,
        lambda size: {"v": np.zeros(size), "t": 0},
        remember=remember,
    )


def random_ascent(normal, per_filter):
    """Li et al., 2025, on filters; or a random direction of SAM's length.

    Args:
        normal: `(shapes, t) -> arrays`, the draws of step t, from 0.
        per_filter: Which of the two.
    """

    def remember(g, state):
        return {"t": state["t"] + 1}

    def two_passes(at):
        ends = np.cumsum([math.prod(shape) for shape in at.shapes])
        weights = np.split(at.weight, ends[:-1])
        is_chosen = [part.all() for part in np.split(at.chosen, ends[:-1])]
        t = round(at.state["t"])
        draws = iter(normal([*itertools.compress(at.shapes, is_chosen)], t))
        noise = []
        for weight, shape, chosen in zip(weights, at.shapes, is_chosen):
            z = np.asarray(next(draws), float) if chosen else np.zeros(shape)
            if per_filter:
                rows = tuple(range(max(len(shape) - 1, 1)))
                squares = weight.reshape(shape) ** 2
                z = z * np.sqrt(squares.mean(axis=rows))
            noise.append(z.ravel())
        z = np.concatenate(noise)
        e = at.rho * z if per_filter else ascent(at, z)
        h = at.gradient(at.weight + e)
        return PartResult(e, h, remember(h, at.state))

    return Method(
        two_passes,
        lambda size: {"t": 0},
        remember=remember,
        is_one_pass=True,
    )


def look_sam(period, alpha):
    """Liu et al., 2022, algorithm 1."""

    def two_passes(at):
        e = ascent(at, at.g)
        h = at.gradient(at.weight + e)
        g, h_chosen = (np.where(at.chosen, v, 0.0) for v in (at.g, h))
        h_parallel = (h_chosen @ g) / (g @ g) * g
        return PartResult(e, h, {"v": h_chosen - h_parallel})

    def reuse(g, state):
        return g + alpha * norm(g) * unit(state["v"])

    return Method(
        two_passes,
        lambda size: {"v": np.zeros(size)},
        lambda t, square, state: (t % period == 0, state),
        reuse,
    )


def ae_sam(threshold, decay):
    """Jiang et al., 2023; the mean starts with the first squared norm."""

    def decide(t, square, state):
        mu = square
        if state["has_mu"]:
            mu = decay * state["mu"] + (1 - decay) * square
        s2 = decay * state["s2"] + (1 - decay) * (square - mu) ** 2
        is_long = square >= mu + threshold(t) * math.sqrt(s2)
        return is_long, {"mu": mu, "s2": s2, "has_mu": True}

    return Method(
        sam().two_passes,
        lambda size: {"mu": 0.0, "s2": 0.0, "has_mu": False},
        decide,
    )
