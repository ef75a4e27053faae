"""Training with any of `methods.py`, in NumPy and float64."""

import math
from typing import NamedTuple

import numpy as np

from tests.reference import problems
from tests.reference.methods import At


class Step(NamedTuple):
    """What one step leaves behind.

    Attributes:
        weight: Vector, after the step.
        loss: What `fit` logs of this step: the loss of the examples that the
            first pass saw, at the weights where it saw them.
        num_seen: How many examples these are.
        sharpness: How much higher that loss is at w + e, for a blind method
            `h . e`; `None` without a second pass.
    """

    weight: np.ndarray
    loss: float
    num_seen: int
    sharpness: float | None


class Part(NamedTuple):
    """One part of a batch.

    Attributes:
        rows: Its examples.
        leading: Those from which the perturbation is computed.
        share: What it counts for in the mean over the parts: its share of the
            examples.
    """

    rows: list[np.ndarray]
    leading: list[np.ndarray]
    share: float


def split(batch, num_parts, ascent_fraction):
    size = len(batch[0])
    bounds = problems.parts(size, num_parts)
    parts = []
    for start, stop in bounds:
        num_leading = math.ceil(ascent_fraction * (stop - start))
        rows = [array[start:stop] for array in batch]
        leading = [array[:num_leading] for array in rows]
        parts.append(Part(rows, leading, (stop - start) / size))
    return parts


def mean(parts, values):
    """Return the mean of nests of dictionaries, numbers and vectors."""
    if isinstance(values[0], dict):
        return {
            key: mean(parts, [value[key] for value in values])
            for key in values[0]
        }
    return sum(p.share * value for p, value in zip(parts, values))


def train(
    problem,
    method,
    weight,
    batches,
    rho,
    learning_rate,
    momentum=0.0,
    num_microbatches=1,
    ascent_fraction=1.0,
    chosen=None,
):
    """Train by stochastic gradient descent.

    Args:
        problem: `problems.Problem`.
        method: `Method`.
        weight: Vector to start from.
        batches: List of triples `x, y, sample_weight`.
        rho: Number, the radius, or a function of the number of the step; a
            step with 0 is that of the plain optimizer.
        learning_rate: Number or function of the number of the step.
        momentum: Number, as in `keras.optimizers.SGD`.
        num_microbatches: How many parts of a batch are perturbed on their own;
            what they give and what they remember is averaged.
        ascent_fraction: What leading part of these e is computed from.
        chosen: Boolean vector, which weights are perturbed; `None` for all.

    Returns:
        List with a `Step` for each batch.
    """
    chosen = np.ones(weight.shape, bool) if chosen is None else chosen
    memory = method.start(weight.size)
    velocity = np.zeros_like(weight)
    steps = []
    for t, batch in enumerate(batches):
        radius, rate = (
            a(t) if callable(a) else a for a in (rho, learning_rate)
        )
        parts = split(batch, num_microbatches, ascent_fraction)
        at = At(weight, radius, chosen, problem.is_matrix, memory, velocity)
        ats = [_at_part(at, problem, part) for part in parts]
        squares = [at.g[chosen] @ at.g[chosen] for at in ats]
        climbs, memory = method.climbs(t, mean(parts, squares), memory)
        if climbs and radius > 0:
            climbs = [method.climb(a._replace(memory=memory)) for a in ats]
            seen = _seen(problem, method, ats, parts, climbs)
            update = mean(parts, [climb.update for climb in climbs])
            correction = mean(parts, [climb.correction for climb in climbs])
            memory = mean(parts, [climb.memory for climb in climbs])
        else:
            g = problem.gradient(weight, *batch)
            update, correction = g, 0.0
            if radius > 0:
                stay = method.stay(np.where(chosen, g, 0.0), memory)
                update = np.where(chosen, stay, g)
            seen = problem.loss(weight, *batch), len(batch[0]), None
        velocity = momentum * velocity - rate * update
        weight = weight + velocity - rate * correction
        steps.append(Step(weight, *seen))
    return steps


def _at_part(at, problem, part):
    def gradient(weight):
        return problem.gradient(weight, *part.rows)

    g = problem.gradient(at.weight, *part.leading)
    return at._replace(g=g, gradient=gradient)


def _seen(problem, method, ats, parts, climbs):
    """Return loss, number of examples and sharpness of a step."""
    losses, rises, sizes = [], [], []
    for at, part, climb in zip(ats, parts, climbs):
        examples = part.rows if method.is_blind else part.leading
        clean = problem.loss(at.weight, *examples)
        perturbed = problem.loss(at.weight + climb.e, *examples)
        blind_rise = at.gradient(at.weight + climb.e) @ climb.e
        rise = perturbed - clean
        losses.append(perturbed if method.is_blind else clean)
        rises.append(blind_rise if method.is_blind else rise)
        sizes.append(len(examples[0]))
    loss = np.average(losses, weights=sizes)
    return loss, sum(sizes), mean(parts, rises)
