"""Training with any of `reference_methods`, in NumPy and float64."""

import math
from typing import NamedTuple

import numpy as np

from tests import reference
from tests.reference_methods import At


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

    `factor` is the number of parts times the share of the batch that is in
    this one, so that the mean over the parts is the loss of the batch.
    """

    rows: list[np.ndarray]
    leading: list[np.ndarray]
    factor: float


def split(batch, num_parts, ascent_fraction):
    size = len(batch[0])
    bounds = reference.parts(size, num_parts)
    parts = []
    for start, stop in bounds:
        num_leading = math.ceil(ascent_fraction * (stop - start))
        rows = [array[start:stop] for array in batch]
        factor = len(bounds) * (stop - start) / size
        parts.append(Part(rows, [a[:num_leading] for a in rows], factor))
    return parts


def mean(climbs):
    """Return the mean of nests of dictionaries, numbers and vectors."""
    first = climbs[0]
    if isinstance(first, dict):
        return {key: mean([climb[key] for climb in climbs]) for key in first}
    return sum(climbs) / len(climbs)


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
        problem: `reference.Problem`.
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
        climbs, memory = method.climbs(t, mean(squares), memory)
        if climbs and radius > 0:
            climbs = [method.climb(a._replace(memory=memory)) for a in ats]
            seen = _seen(problem, method, ats, parts, climbs)
            update = mean([climb.update for climb in climbs])
            correction = mean([climb.correction for climb in climbs])
            memory = mean([climb.memory for climb in climbs])
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
        return part.factor * problem.gradient(weight, *part.rows)

    g = part.factor * problem.gradient(at.weight, *part.leading)
    return at._replace(g=g, gradient=gradient)


def _seen(problem, method, ats, parts, climbs):
    """Return loss, number of examples and sharpness of a step."""
    losses, rises, sizes = [], [], []
    for at, part, climb in zip(ats, parts, climbs):
        examples = part.rows if method.is_blind else part.leading
        clean = problem.loss(at.weight, *examples)
        perturbed = problem.loss(at.weight + climb.e, *examples)
        blind_rise = at.gradient(at.weight + climb.e) @ climb.e
        rise = part.factor * (perturbed - clean)
        losses.append(perturbed if method.is_blind else clean)
        rises.append(blind_rise if method.is_blind else rise)
        sizes.append(len(examples[0]))
    loss = np.average(losses, weights=sizes)
    return loss, sum(sizes), mean(rises)
