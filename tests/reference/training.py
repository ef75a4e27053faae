"""Training with any of `methods.py`, in NumPy and float64."""

import math
from typing import NamedTuple

import numpy as np

from tests.reference import problems
from tests.reference.methods import At


class Step(NamedTuple):
    """The result of one step.

    Attributes:
        weight: Vector, after the step.
        loss: The loss that `fit` logs: that of the first pass, on its examples
            and at its weights.
        num_seen: How many examples these are.
        sharpness: How much higher that loss is at w + e, for a method of one
            pass `h . e`; `None` without a second pass.
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
        share: Its weight in the mean over the parts, the share of the examples.
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
            their results and states are averaged.
        ascent_fraction: The leading fraction of each, from which e is computed.
        chosen: Boolean vector, which weights are perturbed; `None` for all.

    Returns:
        List with a `Step` for each batch.
    """
    chosen = np.ones(weight.shape, bool) if chosen is None else chosen
    state = method.start(weight.size)
    velocity = np.zeros_like(weight)
    steps = []
    for t, batch in enumerate(batches):
        radius, rate = (
            a(t) if callable(a) else a for a in (rho, learning_rate)
        )
        parts = split(batch, num_microbatches, ascent_fraction)
        at = At(weight, radius, chosen, problem.is_matrix, state, velocity)
        ats = [_at_part(at, problem, part) for part in parts]
        squares = [at.g[chosen] @ at.g[chosen] for at in ats]
        is_sharp, state = method.decide(t, mean(parts, squares), state)
        if is_sharp and radius > 0:
            results = [method.two_passes(a._replace(state=state)) for a in ats]
            seen = _seen(problem, method, ats, parts, results)
            update = mean(parts, [result.update for result in results])
            correction = mean(parts, [r.correction for r in results])
            state = mean(parts, [result.state for result in results])
        else:
            g = problem.gradient(weight, *batch)
            update, correction = g, 0.0
            if radius > 0:
                reused = method.reuse(np.where(chosen, g, 0.0), state)
                update = np.where(chosen, reused, g)
            seen = problem.loss(weight, *batch), len(batch[0]), None
        velocity = momentum * velocity - rate * update
        weight = weight + velocity - rate * correction
        steps.append(Step(weight, *seen))
    return steps


def _at_part(at, problem, part):
    def gradient(weight, held=None):
        return problem.gradient(weight, *part.rows, held=held)

    g = problem.gradient(at.weight, *part.leading)
    return at._replace(g=g, gradient=gradient, shapes=problem.shapes)


def _seen(problem, method, ats, parts, results):
    """Return loss, number of examples and sharpness of a step."""
    losses, rises, sizes = [], [], []
    for at, part, result in zip(ats, parts, results):
        examples = part.rows if method.is_one_pass else part.leading
        there = at.weight + result.e
        loss = perturbed_loss = problem.loss(there, *examples)
        if method.is_one_pass:
            rise = at.gradient(there) @ result.e
        else:
            loss = problem.loss(at.weight, *examples)
            rise = perturbed_loss - loss
        losses.append(loss)
        rises.append(rise)
        sizes.append(len(examples[0]))
    loss = np.average(losses, weights=sizes)
    return loss, sum(sizes), mean(parts, rises)
