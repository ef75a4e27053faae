"""Table and picture of what the records say."""

import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_sam.experiments import records
from keras_sam.experiments.records import Record


def write(
    files: Sequence[Path], folder: Path, x: str = "", by: str = "variant"
) -> str:
    """Write `report.md` and `report.png`.

    The picture has the paper's number beside each mean that has one.

    Args:
        files: JSON lines, as `run` writes them.
        folder: Where the report goes.
        x: A setting to draw the errors over; empty to draw one line for each
            experiment. Defaults to the latter.
        by: The setting of which each value is a line of the picture. Defaults
            to `"variant"`.

    Returns:
        The table.

    Raises:
        ValueError: If there are no records, or no such setting.
    """
    found = [record for file in files for record in records.read(file)]
    if not found:
        names = ", ".join(map(str, files))
        raise ValueError(f"There are no records in: {names}")
    for setting in filter(None, (x, by)):
        if setting not in found[0]["settings"]:
            raise ValueError(
                f"`x` and `by` must be one of {', '.join(found[0]['settings'])}"
                f". Received: {setting!r}"
            )
    groups = grouped(found)
    text = table(groups)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(text + "\n")
    _draw(groups, x, by, folder / "report.png")
    return text


def grouped(found: Sequence[Record]) -> list[list[Record]]:
    """Return lists of records that differ in their seeds only.

    Args:
        found: Records.

    Returns:
        List of lists, in the order of the first of each.
    """
    groups: dict[str, list[Record]] = {}
    for record in found:
        groups.setdefault(str(record["settings"]), []).append(record)
    return list(groups.values())


def table(groups: Sequence[Sequence[Record]]) -> str:
    """Return a Markdown table, one row for each list of records.

    Args:
        groups: What `grouped` returned.

    Returns:
        String.
    """
    lines = [
        "| experiment | images | epochs | network | test error, % | seeds "
        "| paper, % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for group in groups:
        first = group[0]
        settings = first["settings"]
        lines.append(
            f"| {first['name']} | {first['num_train']:,} "
            f"| {settings['epochs'] * settings['budget']} "
            f"| {settings['network']}, {first['num_weights']:,} weights "
            f"| {spread([r['error'] for r in group])} | {len(group)} "
            f"| {first['paper_error'] or '-'} |"
        )
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Return mean, standard deviation, and in brackets the range.

    Args:
        values: Numbers, at least one.

    Returns:
        String.
    """
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.2f}"
    return (
        f"{mean:.2f} ± {statistics.stdev(values):.2f} "
        f"({min(values):.2f} to {max(values):.2f})"
    )


def _draw(
    groups: Sequence[Sequence[Record]], x: str, by: str, output: Path
) -> None:
    from matplotlib.figure import Figure

    height = 4.5 if x else 1.5 + 0.3 * len(groups)
    figure = Figure(figsize=(8, height), layout="constrained")
    axis = figure.subplots()
    if x:
        _draw_lines(axis, groups, x, by)
    else:
        _draw_rows(axis, groups)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=110)


def _draw_lines(
    axis: Any, groups: Sequence[Sequence[Record]], x: str, by: str
) -> None:
    """Draw mean and range over one setting, a line for each of another."""
    lines: dict[Any, list[Sequence[Record]]] = {}
    for group in groups:
        lines.setdefault(group[0]["settings"][by], []).append(group)
    for name, members in lines.items():
        members = sorted(members, key=lambda group: group[0]["settings"][x])
        places = [group[0]["settings"][x] for group in members]
        drawn = axis.errorbar(
            places,
            *_means_and_ranges(members),
            marker="o",
            capsize=2,
            label=str(name),
        )
        if any(group[0]["paper_error"] for group in members):
            axis.plot(
                places,
                _paper_errors(members),
                color=drawn[0].get_color(),
                label=f"{name}, the paper's",
                **_PAPER,
            )
    axis.set_xlabel(x.replace("_", " "))
    axis.set_ylabel("test error, %: mean and range over seeds")
    axis.legend(title=by.replace("_", " "), frameon=False)


def _draw_rows(axis: Any, groups: Sequence[Sequence[Record]]) -> None:
    """Draw one mean with its range below another."""
    means, ranges = _means_and_ranges(groups)
    rows = range(len(groups))
    axis.errorbar(
        means, rows, xerr=ranges, fmt="o", capsize=2, label="obtained"
    )
    axis.plot(
        _paper_errors(groups),
        rows,
        color="black",
        label="the paper's",
        **_PAPER,
    )
    axis.legend(frameon=False)
    axis.set_yticks(rows, [group[0]["name"] for group in groups])
    axis.invert_yaxis()
    axis.set_xlabel("test error, %: mean and range over seeds")


_PAPER = {"marker": "x", "linestyle": "none"}


def _paper_errors(groups: Sequence[Sequence[Record]]) -> list[float]:
    """Return the numbers that the paper prints, NaN where it prints none."""
    return [paper_error(group[0]["paper_error"]) for group in groups]


def paper_error(printed: str) -> float:
    """Return the number that a printed error begins with.

    Args:
        printed: String as in `Experiment.paper_error`.

    Returns:
        Float in per cent, NaN if there is no number.
    """
    found = re.match(r"\d+(\.\d*)?", printed)
    return float(found[0]) if found else math.nan


def _means_and_ranges(
    groups: Sequence[Sequence[Record]],
) -> tuple[list[float], list[list[float]]]:
    errors = [[record["error"] for record in group] for group in groups]
    means = [statistics.fmean(values) for values in errors]
    below = [mean - min(values) for mean, values in zip(means, errors)]
    above = [max(values) - mean for mean, values in zip(means, errors)]
    return means, [below, above]
