"""Checks of arguments, and of a model before it takes a step.

Numbers are checked in one way: `True` is no number, 2.0 is an integer, and
numbers of NumPy are like those of Python.
"""

import numbers
import warnings
from typing import Any

import keras


def integer(
    name: str, value: Any, least: int = 1, alternative: str = ""
) -> int:
    """Return an argument as an integer >= `least`.

    Args:
        name: Of the argument.
        value: Of the argument.
        least: The least that is allowed.
        alternative: Other allowed values, for the message.

    Raises:
        ValueError: If it is another value.
    """
    if not _is_real(value) or value % 1 != 0 or value < least:
        raise ValueError(
            f"`{name}` must be an integer >= {least}{alternative}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def number(
    name: str, value: Any, interval: str, alternative: str = ""
) -> float:
    """Return an argument as a float in an interval.

    Args:
        name: Of the argument.
        value: Of the argument.
        interval: For example `"[0, inf)"`. A bracket includes the bound, a
            parenthesis excludes it.
        alternative: Other allowed values, for the message.

    Raises:
        ValueError: If it is another value.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    is_inside = _is_real(value) and low <= value <= high
    if (
        not is_inside
        or (value == low and interval[0] == "(")
        or (value == high and interval[-1] == ")")
    ):
        raise ValueError(
            f"`{name}` must be a number in {interval}{alternative}. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def is_of_type(value: Any, declared: Any) -> bool:
    """Return whether a value read from JSON has the type of a field."""
    if declared is float:
        declared = float | int
    # `True` is an `int` in Python.
    is_bool = isinstance(value, bool)
    return isinstance(value, declared) and is_bool == (declared is bool)


def set_fields(instance: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass, in its `__post_init__`."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_weightless(model: keras.Model) -> bool:
    """Return whether no weight is trainable, in which case steps are plain.

    Warns in this case.

    Args:
        model: A built `SAMModel`.
    """
    if model.trainable_variables:
        return False
    warnings.warn(
        "The model has no trainable weights, so that there is nothing to "
        "perturb: its steps are those of `keras.Model`. If some are to be "
        "trained, set `trainable = True` on their layers, and compile the "
        f"model again. Received: model={model!r}",
        stacklevel=4,
    )
    return True


def check_batch_size(model: Any, batch_size: int) -> None:
    """Check that the batches of `fit` can be split into micro-batches.

    A smaller one, the last of an epoch for example, is split into single
    examples.

    Args:
        model: A `SAMModel`.
        batch_size: The argument of `fit`.

    Raises:
        ValueError: If there are fewer examples than micro-batches.
    """
    if batch_size < model.sam.num_microbatches:
        raise ValueError(
            "`num_microbatches` must not be larger than the batch. Received: "
            f"num_microbatches={model.sam.num_microbatches}, and a batch of "
            f"{batch_size}"
        )
