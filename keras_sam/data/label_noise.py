"""Artificial label noise, with an exact number of wrong labels.

The twin for any noise matrix is `cleanlab.benchmarking.noise_generation`.
"""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from keras_sam import validation

CIFAR10_CONFUSIONS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
"""Truck to automobile, bird to airplane, deer to horse, cat and dog to each
other: the pairs of [Patrini et al., 2017](https://arxiv.org/abs/1609.03683).
"""


class NoisyLabels(NamedTuple):
    """Labels of which some are wrong.

    `keras_sam.data.symmetric_noise` and `keras_sam.data.asymmetric_noise`
    return them.

    Attributes:
        labels: Integer array of shape `(num_examples,)`.
        is_wrong: Boolean array of the same shape.
    """

    labels: Any
    is_wrong: Any


def symmetric_noise(
    labels: Any,
    fraction: float,
    num_classes: int,
    seed: int = 0,
    include_own: bool = False,
) -> NoisyLabels:
    """Replace labels with labels drawn uniformly from the other classes.

    Args:
        labels: Integer array of shape `(num_examples,)`, with values in
            [0, num_classes).
        fraction: Number in [0, 1]. This fraction of the labels, rounded to a
            whole number of them, is replaced.
        num_classes: Integer >= 2.
        seed: Integer. The same seed gives the same labels. Defaults to 0.
        include_own: Whether labels are drawn from all classes, so that some of
            the new labels are right. Defaults to `False`: all are wrong.

    Returns:
        `NoisyLabels`; `labels` is not changed.

    Example:
    >>> noisy = keras_sam.data.symmetric_noise(np.zeros(10, int), 0.4, 3)
    >>> int(noisy.is_wrong.sum())
    4

    Raises:
        ValueError: If an argument is outside its range.
    """
    labels = _checked(labels, fraction, num_classes)
    generator = np.random.default_rng(seed)
    chosen = _chosen(np.arange(len(labels)), fraction, generator)
    # A shift of 1 to num_classes - 1, modulo num_classes, is uniform over the
    # other classes.
    lowest = 0 if include_own else 1
    shift = generator.integers(lowest, num_classes, len(chosen))
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + shift) % num_classes
    return NoisyLabels(noisy, noisy != labels)


def asymmetric_noise(
    labels: Any,
    fraction: float,
    confusions: Mapping[int, int],
    seed: int = 0,
) -> NoisyLabels:
    """Replace labels of some classes with that of a similar class.

    Args:
        labels: Integer array of shape `(num_examples,)`.
        fraction: Number in [0, 1]. This fraction of the labels of each class
            in `confusions` is wrong afterwards.
        confusions: Maps a class to its replacement: `CIFAR10_CONFUSIONS`, or
            any other mapping.
        seed: Integer. The same seed gives the same labels. Defaults to 0.

    Returns:
        `NoisyLabels`; `labels` is not changed.

    Example:
    >>> trucks, confusions = np.full(4, 9), keras_sam.data.CIFAR10_CONFUSIONS
    >>> noisy = keras_sam.data.asymmetric_noise(trucks, 0.5, confusions)
    >>> sorted(noisy.labels.tolist())
    [1, 1, 9, 9]

    Raises:
        ValueError: If an argument is outside its range.
    """
    largest = max([0, *confusions, *confusions.values()])
    labels = np.asarray(labels)
    num_classes = max(largest, labels.max(initial=0)) + 1
    labels = _checked(labels, fraction, num_classes)
    generator = np.random.default_rng(seed)
    noisy = labels.copy()
    for own, other in confusions.items():
        members = np.flatnonzero(labels == own)
        noisy[_chosen(members, fraction, generator)] = other
    return NoisyLabels(noisy, noisy != labels)


def _chosen(
    positions: Any, fraction: float, generator: np.random.Generator
) -> Any:
    number = round(fraction * len(positions))
    return generator.permutation(positions)[:number]


def _checked(labels: Any, fraction: float, num_classes: int) -> Any:
    labels = np.asarray(labels)
    validation.number("fraction", fraction, "[0, 1]")
    validation.integer("num_classes", num_classes, least=2)
    is_integer = np.issubdtype(labels.dtype, np.integer)
    if labels.ndim != 1 or not is_integer:
        raise ValueError(
            "`labels` must be integers of shape `(num_examples,)`. Received: "
            f"labels of shape {labels.shape} and type {labels.dtype}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            "`labels` must be in [0, num_classes). Received: labels from "
            f"{labels.min()} to {labels.max()}, num_classes={num_classes}"
        )
    return labels
