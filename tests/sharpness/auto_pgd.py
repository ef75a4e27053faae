"""Auto-PGD as the paper prints it, in NumPy and float64.

Croce and Hein, 2020, algorithm 1 and equations (1) to (4), with a step along
the normalized gradient (its signs for the largest norm) of twice the radius.
"""

import math

import numpy as np


def ascend(function, gradient, size, radius, norm, num_steps):
    """Return the points from 0 on, and the number of halvings of the step."""
    checkpoints = [math.ceil(p * num_steps) for p in _fractions()]
    step = 2 * radius
    points = [np.zeros(size)]
    x_last, x = (
        points[0],
        _project(step * _direction(gradient(points[0]), norm), radius, norm),
    )
    points.append(x)
    x_best = max(points, key=function)
    values = [function(p) for p in points]
    at_checkpoint = (step, function(x_best))
    num_halvings, last_checkpoint = 0, 0
    for k in range(1, num_steps):
        z = _project(x + step * _direction(gradient(x), norm), radius, norm)
        x_new = _project(x + 0.75 * (z - x) + 0.25 * (x - x_last), radius, norm)
        points.append(x_new)
        values.append(function(x_new))
        if values[-1] > function(x_best):
            x_best = x_new
        x_last, x = x, x_new
        if k in checkpoints:
            length = k - last_checkpoint
            recent = np.array(values[-length - 1 :])
            num_rises = np.sum(recent[1:] > recent[:-1])
            now = (step, function(x_best))
            if num_rises < 0.75 * length or now == at_checkpoint:
                step /= 2
                x = x_best
                values[-1] = function(x_best)
                num_halvings += 1
            at_checkpoint, last_checkpoint = now, k
    return points, num_halvings


def _fractions():
    parts = [0, 0.22]
    while parts[-1] <= 1:
        parts.append(parts[-1] + max(parts[-1] - parts[-2] - 0.03, 0.06))
    return parts[1:-1]


def _direction(gradient, norm):
    if norm == "linf":
        return np.sign(gradient)
    return gradient / np.linalg.norm(gradient)


def _project(x, radius, norm):
    if norm == "linf":
        return np.clip(x, -radius, radius)
    return x * min(1.0, radius / max(np.linalg.norm(x), 1e-300))
