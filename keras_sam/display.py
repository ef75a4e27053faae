"""What results can do beside printing: draw, save, show in a notebook."""

import base64
import dataclasses
import html
import io
import json
import os
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np

from keras_sam import plots

CLASSES: dict[str, type[Any]] = {}
"""The classes of results by name, for `keras_sam.sharpness.load`."""

_MOST_ROWS = 30
"""Longer columns are left to the picture."""

_PICTURE: dict[str, Any] = {
    "figsize": (5.0, 3.2),
    "dpi": 80,
    "layout": "constrained",
}

_STYLE = ' style="padding: 0.1em 0.7em 0.1em 0; text-align: left"'


class Displayed:
    """A frozen dataclass that draws, saves and displays itself.

    Attributes:
        measure: Class attribute. The name of the function in
            `keras_sam.plots` that draws it.
    """

    measure: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "measure"):
            CLASSES[cls.__name__] = cls

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
        content = {"result": type(self).__name__, **fields_of(self)}
        Path(path).write_text(json.dumps(content, default=_plain) + "\n")

    def _repr_html_(self) -> str:
        """Return tables of the fields, and a picture if there is matplotlib."""
        fields = fields_of(self)
        tables = [_table(None, _scalars(fields)), *_column_tables(fields)]
        content = "".join([*tables, self._picture()])
        return (
            '<div style="display: flex; flex-wrap: wrap; gap: 1em; '
            f'align-items: flex-start">{content}</div>'
        )

    def _picture(self) -> str:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return ""
        figure = Figure(**_PICTURE)
        self.plot(figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        data = base64.b64encode(buffer.getvalue()).decode()
        name = f"picture of {type(self).__name__}"
        return f'<img alt="{name}" src="data:image/png;base64,{data}">'


def fields_of(result: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name."""
    names = [field.name for field in dataclasses.fields(result)]
    return {name: getattr(result, name) for name in names}


def _scalars(fields: dict[str, Any]) -> list[tuple[Any, ...]]:
    kinds = (bool, int, float, str, np.generic)
    return [(k, v) for k, v in fields.items() if isinstance(v, kinds)]


def _column_tables(fields: dict[str, Any]) -> list[str]:
    """Return a table of each dictionary and of the lists of one length."""
    tables: list[str] = []
    columns: dict[int, dict[str, Any]] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            rows = list(value.items())[:_MOST_ROWS]
            if len(value) > _MOST_ROWS:
                rows.append(("...", f"{len(value) - _MOST_ROWS} more"))
            tables.append(_table(("", name), rows))
        elif isinstance(value, (tuple, list)) or np.ndim(value) == 1:
            if len(value) <= _MOST_ROWS:
                columns.setdefault(len(value), {})[name] = value
    for found in columns.values():
        tables.append(_table(tuple(found), list(zip(*found.values()))))
    return tables


def _table(header: tuple[str, ...] | None, rows: list[tuple[Any, ...]]) -> str:
    lines = []
    if header is not None:
        head = "".join(f"<th{_STYLE}>{_label(name)}</th>" for name in header)
        lines.append(f"<thead><tr>{head}</tr></thead>")
    body = ""
    for first, *others in rows:
        label = _label(first) if header is None else _cell(first)
        cells = [label, *map(_cell, others)]
        body += f"<tr>{''.join(f'<td{_STYLE}>{c}</td>' for c in cells)}</tr>"
    return f"<table>{''.join(lines)}<tbody>{body}</tbody></table>"


def _label(name: str) -> str:
    return html.escape(name.replace("_", " "))


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return html.escape(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"Received: value={value!r} (of type {type(value)})")
