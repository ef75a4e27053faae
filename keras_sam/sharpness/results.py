"""The results of measures: frozen dataclasses that print, plot and save."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any
from typing import get_args
from typing import get_origin
from typing import get_type_hints

import numpy as np

from keras_sam import validation
from keras_sam.display import CLASSES
from keras_sam.display import Displayed


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Result(Displayed):
    """The fields and functions that all results have.

    Attributes:
        measure: Class attribute. The name of the function that returns such
            results, and of the function in `keras_sam.plots` that draws them.
        num_examples: The number of examples that the loss is a mean over.
        num_weights: The number of weights that the loss is a function of.
        training: Whether the layers were in training mode.
        loss: The loss at the weights.
    """

    num_examples: int
    num_weights: int
    training: bool
    loss: float

    def heading(self) -> str:
        """Return a line about weights, data, mode and loss, for a table."""
        mode = "training" if self.training else "inference"
        return (
            f"{self.num_weights} weights, {self.num_examples} examples, "
            f"{mode} mode, loss {self.loss:.6g}"
        )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CurvatureResult(Result):
    """The fields that all results about a `Curvature` have.

    Attributes:
        gauss_newton: Whether the matrix is the Gauss-Newton matrix.
    """

    gauss_newton: bool

    @property
    def matrix(self) -> str:
        """The name of the matrix that was measured."""
        return "Gauss-Newton matrix" if self.gauss_newton else "Hessian"


def load(path: str | os.PathLike[str]) -> Any:
    """Read a result that was saved.

    Args:
        path: A file that `save` wrote.

    Returns:
        A result of the same class.

    Example, with the model of `keras_sam.sharpness`:

    >>> import os
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "trace.json")
    >>> sharpness.hessian_trace(model, x, y, rank=3).save(path)
    >>> print(f"{sharpness.load(path).trace:.3f}")
    5.250

    Raises:
        ValueError: If the file holds no result, or a field has another type or
            shape than its class declares.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"`path` must be a saved result. Received: path={path!r}, which is "
            f"not JSON: {error}"
        ) from error
    name = content.pop("result", None) if isinstance(content, dict) else None
    if not isinstance(name, str) or name not in CLASSES:
        raise ValueError(
            f"`path` must be a saved result. Received: path={path!r}, with "
            f"result={name!r}"
        )
    cls = CLASSES[name]
    try:
        return cls(**_checked_fields(cls, content))
    except ValueError as error:
        raise ValueError(f"{error}, in path={path!r}") from error


def _checked_fields(cls: type[Any], content: Any) -> dict[str, Any]:
    """Return saved fields with the types and shapes that a class declares.

    The annotation of an array holds its sizes: integers, or names. Sizes with
    one name must be equal.

    Raises:
        ValueError: If the fields are others, or of another type or shape.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    if set(names) != set(content):
        raise ValueError(
            f"A saved `{cls.__name__}` must have the fields {names}. "
            f"Received: {[*content]}"
        )
    types = get_type_hints(cls)
    declared = get_type_hints(cls, include_extras=True)
    fields = dict(content)
    sizes: dict[Any, int] = {}
    for name in names:
        shapes = getattr(declared[name], "__metadata__", ())
        value = content[name]
        if shapes and value is not None:
            fields[name] = _array(name, value, shapes[0], sizes)
            continue
        if get_origin(types[name]) is tuple and isinstance(value, list):
            fields[name] = tuple(value)
        if not _is_of(fields[name], types[name]):
            expected = getattr(types[name], "__name__", types[name])
            raise ValueError(
                f"`{name}` must be {expected}. Received: {name}={value!r}"
            )
    return fields


def _array(
    name: str, value: Any, shape: tuple[str | int, ...], sizes: dict[Any, int]
) -> np.ndarray:
    """Return nested lists as an array of a shape.

    Args:
        name: Of the field.
        value: Nested lists.
        shape: Sizes, or their names.
        sizes: The sizes of the names so far; those of this array are added.

    Raises:
        ValueError: If the lists are no such array.
    """
    try:
        array = np.array(value)
    except ValueError:  # Lists of different lengths.
        array = np.array(None)
    expected = tuple(sizes.get(size, size) for size in shape)
    fits = array.ndim == len(shape) and all(
        actual == size or (isinstance(size, str) and actual > 0)
        for size, actual in zip(expected, array.shape)
    )
    are_booleans = name == "converged"
    if not fits or array.dtype.kind not in ("b" if are_booleans else "fi"):
        elements = "booleans" if are_booleans else "numbers"
        raise ValueError(
            f"`{name}` must be {elements} of shape {expected}. "
            f"Received: {name}={value!r}"
        )
    sizes.update(zip(shape, array.shape))
    return array if array.dtype == bool else array.astype("float64")


def _is_of(value: Any, declared: Any) -> bool:
    """Return whether a value, and each part of it, has the declared type."""
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is dict:
        return isinstance(value, dict) and all(
            _is_of(part, arguments[1]) for part in value.values()
        )
    if origin is tuple:
        return isinstance(value, tuple) and all(
            _is_of(part, arguments[0]) for part in value
        )
    return validation.is_of_type(value, declared)


def common(objective: Any) -> dict[str, Any]:
    """Return the fields that every result has."""
    return {
        "num_examples": objective.num_examples,
        "num_weights": objective.size,
        "training": objective.training,
        "loss": objective.value,
    }
