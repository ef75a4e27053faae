"""Table and plot of records."""

import math
import re
import statistics
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_sam.experiments import records
from keras_sam.experiments import tables
from keras_sam.experiments.config import SAM_ARGUMENTS
from keras_sam.experiments.records import Record


def write(
    files: Sequence[Path], folder: Path, x: str = "", by: str = "variant"
) -> str:
    """Write `report.md` and `report.png`.

    The plot has the paper's numbers beside the means.

    Args:
        files: JSON lines, as `run` writes them.
        folder: The folder of the report.
        x: The setting, or argument of `SAMModel`, on the x axis; empty for one
            row for each experiment. Defaults to the latter.
        by: The setting with a line for each of its values. Defaults to
            `"variant"`.

    Returns:
        The table.

    Raises:
        ValueError: If there are no records, or a setting is unknown.
    """
    runs = [record for file in files for record in records.read(file)]
    if not runs:
        names = ", ".join(map(str, files))
        raise ValueError(f"There are no records in: {names}")
    known = [*runs[0]["settings"], *SAM_ARGUMENTS]
    for name in filter(None, (x, by)):
        if name not in known:
            raise ValueError(
                f"`x` and `by` must be one of {', '.join(known)}. "
                f"Received: {name!r}"
            )
    groups = grouped(runs)
    text = table(groups)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(text + "\n")
    _draw(groups, x, by, folder / "report.png")
    return text


def grouped(runs: Iterable[Record]) -> list[list[Record]]:
    """Return lists of records with equal settings, in order of appearance."""
    groups: dict[str, list[Record]] = {}
    for record in runs:
        groups.setdefault(str(record["settings"]), []).append(record)
    return list(groups.values())


def by_name(runs: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each name, with its newest settings only."""
    return {group[0]["name"]: group for group in grouped(runs)}


def setting(group: Sequence[Record], name: str) -> Any:
    """Return a setting of some records, or an argument of `SAMModel`."""
    settings = group[0]["settings"]
    return {**SAM_ARGUMENTS, **settings, **settings["sam"]}[name]


def table(groups: Sequence[Sequence[Record]]) -> str:
    """Return a Markdown table, one row for each list of records."""
    return tables.render(
        (
            *("experiment", "images", "epochs", "network", "test error, %"),
            *("seeds", "paper, %"),
        ),
        [
            (
                group[0]["name"],
                f"{group[0]['num_train']:,}",
                str(setting(group, "epochs") * setting(group, "budget")),
                f"{setting(group, 'network')}, "
                f"{group[0]['num_weights']:,} weights",
                summary([record["error"] for record in group]),
                str(len(group)),
                group[0]["paper_error"] or "-",
            )
            for group in groups
        ],
    )


def summary(values: Sequence[float]) -> str:
    """Return mean, standard deviation, and in brackets the range."""
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
    lines: dict[str, list[Sequence[Record]]] = {}
    for group in groups:
        lines.setdefault(str(setting(group, by)), []).append(group)
    for name, members in lines.items():
        members = sorted(members, key=lambda group: setting(group, x))
        positions = [setting(group, x) for group in members]
        drawn = axis.errorbar(
            positions,
            *means_and_ranges(members),
            marker="o",
            capsize=2,
            label=name,
        )
        if any(group[0]["paper_error"] for group in members):
            axis.plot(
                positions,
                _paper_errors(members),
                color=drawn[0].get_color(),
                label=f"{name}, the paper's",
                **_PAPER,
            )
    axis.set_xlabel(x.replace("_", " "))
    axis.set_ylabel("test error, %: mean and range over seeds")
    axis.legend(title=by.replace("_", " "), frameon=False)


def _draw_rows(axis: Any, groups: Sequence[Sequence[Record]]) -> None:
    """Draw a row for each mean with its range."""
    means, ranges = means_and_ranges(groups)
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
    """Return the number at the start of `Experiment.paper_error`, or NaN."""
    number = re.match(r"\d+(\.\d*)?", printed)
    return float(number[0]) if number else math.nan


def means_and_ranges(
    groups: Sequence[Sequence[Record]],
) -> tuple[list[float], list[list[float]]]:
    """Return mean errors, and the distances to minimum and maximum."""
    errors = [[record["error"] for record in group] for group in groups]
    means = [statistics.fmean(values) for values in errors]
    below = [mean - min(values) for mean, values in zip(means, errors)]
    above = [max(values) - mean for mean, values in zip(means, errors)]
    return means, [below, above]
