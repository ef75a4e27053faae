"""What measures return: frozen, and printed, drawn and saved."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np

from keras_sam import plots

_KINDS: dict[str, type["Result"]] = {}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """What every measure says beside its numbers.

    Attributes:
        measure: The name of the function that returns such results, and of
            the one in `keras_sam.plots` that draws them.
        num_examples: How many examples the loss is a mean over.
        num_weights: How many weights it is a function of.
        training: Whether the layers were in training mode.
        loss: The loss at the weights.
    """

    measure: ClassVar[str]

    num_examples: int
    num_weights: int
    training: bool
    loss: float

    def __init_subclass__(cls) -> None:
        _KINDS[cls.__name__] = cls

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
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        content = {"result": type(self).__name__, **fields}
        Path(path).write_text(json.dumps(content, default=_plain) + "\n")

    def heading(self) -> str:
        """Return on what was measured, for the first line of a table."""
        mode = "training" if self.training else "inference"
        return (
            f"{self.num_weights} weights, {self.num_examples} examples, "
            f"{mode} mode, loss {self.loss:.6g}"
        )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CurvatureResult(Result):
    """What every measure of a `Curvature` says.

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
        ValueError: If the file holds no result.
    """
    content = json.loads(Path(path).read_text())
    name = content.pop("result", None) if isinstance(content, dict) else None
    if name not in _KINDS:
        raise ValueError(
            f"`path` must be a saved result. Received: path={path!r}, with "
            f"result={name!r}"
        )
    fields: dict[str, Any] = {
        key: np.array(value, "float64") if isinstance(value, list) else value
        for key, value in content.items()
    }
    if isinstance(fields.get("converged"), np.ndarray):
        fields["converged"] = fields["converged"].astype(bool)
    return _KINDS[name](**fields)


def common(objective: Any) -> dict[str, Any]:
    """Return the fields that every result has."""
    return {
        "num_examples": objective.num_examples,
        "num_weights": objective.size,
        "training": objective.training,
        "loss": objective.value,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"Received: value={value!r} (of type {type(value)})")
