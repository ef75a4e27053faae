"""The results of measures: frozen dataclasses that print, plot and save."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any
from typing import ClassVar
from typing import get_type_hints

import numpy as np

from keras_sam import plots
from keras_sam import validation

_CLASSES: dict[str, type["Result"]] = {}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """The fields and functions that all results have.

    Attributes:
        measure: The name of the function that returns such results, and of
            the function in `keras_sam.plots` that draws them.
        num_examples: The number of examples that the loss is a mean over.
        num_weights: The number of weights that the loss is a function of.
        training: Whether the layers were in training mode.
        loss: The loss at the weights.
    """

    measure: ClassVar[str]

    num_examples: int
    num_weights: int
    training: bool
    loss: float

    def __init_subclass__(cls) -> None:
        _CLASSES[cls.__name__] = cls

    def plot(self, axis: Any = None) -> Any:
        """Draw the result with its function in `keras_sam.plots`.

        Args:
            axis: A matplotlib `Axes`; a new one by default.

        Returns:
            The axis.
        """
        return getattr(plots, self.measure)(self, axis)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON; `keras_sam.sharpness.load` reads it."""
        content = {"result": type(self).__name__, **dataclasses.asdict(self)}
        text = json.dumps(content, default=lambda array: array.tolist())
        Path(path).write_text(text + "\n")

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
    if not isinstance(name, str) or name not in _CLASSES:
        raise ValueError(
            f"`path` must be a saved result. Received: path={path!r}, with "
            f"result={name!r}"
        )
    cls = _CLASSES[name]
    try:
        return cls(**_checked_fields(cls, content))
    except ValueError as error:
        raise ValueError(f"{error}, in path={path!r}") from error


def _checked_fields(cls: type[Result], content: Any) -> dict[str, Any]:
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
        if shapes and content[name] is not None:
            fields[name] = _array(name, content[name], shapes[0], sizes)
        elif not validation.is_of_type(content[name], types[name]):
            expected = getattr(types[name], "__name__", types[name])
            raise ValueError(
                f"`{name}` must be {expected}. "
                f"Received: {name}={content[name]!r}"
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


def common(objective: Any) -> dict[str, Any]:
    """Return the fields that every result has."""
    return {
        "num_examples": objective.num_examples,
        "num_weights": objective.size,
        "training": objective.training,
        "loss": objective.value,
    }
