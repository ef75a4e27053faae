"""The command line: `list`, `show`, names of experiments, `report`."""

import argparse
import fnmatch
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from keras_sam.experiments import recipe
from keras_sam.experiments import report
from keras_sam.experiments.config import Experiment
from keras_sam.experiments.files import DamagedFileError
from keras_sam.experiments.memory import keep_freed_memory
from keras_sam.experiments.paper import EXPERIMENTS
from keras_sam.experiments.run import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Its words. Defaults to those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    options = parser.parse_args(given)
    folder = options.folder / "smoke" if options.smoke else options.folder
    action, *names = options.names
    try:
        if action == "report":
            files = [Path(name) for name in names]
            files = files or [folder / "records.jsonl"]
            print(report.write(files, folder, options.x, options.by))
            return
        if action == "list":
            print("\n".join(map(_line, _chosen(names or ["*"]))))
            return
        chosen = [
            (e.smoke() if options.smoke else e).with_settings(options.set)
            for e in _chosen(names if action == "show" else options.names)
        ]
    except ValueError as error:
        parser.error(str(error))
    keep_freed_memory()
    program = ["python", "-m", "keras_sam.experiments"]
    for experiment in chosen:
        if action == "show":
            settings = ["--smoke"] * options.smoke
            settings += ["--set", *options.set] if options.set else []
            command = shlex.join([*program, experiment.name, *settings])
            print(recipe.page(experiment, command), end="\n\n")
            continue
        try:
            _run(experiment, folder, shlex.join([*program, *given]))
        except DamagedFileError as error:
            parser.error(str(error))


def _run(experiment: Experiment, folder: Path, command: str) -> None:
    print(experiment.name)
    for record in run(experiment, folder, command):
        print(f"seed {record['seed']}: error {record['error']:.2f} %")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_sam.experiments",
        description="Run experiments of the SAM paper; each finished run is "
        "a line of records.jsonl, and a stopped run is resumed.",
    )
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="task, task/variant or a pattern of these; `list [PATTERN]`; "
        "`show NAME`; `report [FILE ...]`",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="fields of `Experiment` and arguments of `SAMModel`",
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="a few images, a tiny network; records and logs go to the "
        "subfolder `smoke`",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs"), help="for records and logs"
    )
    parser.add_argument(
        "--x", default="", help="report: the setting on the x axis"
    )
    parser.add_argument(
        "--by",
        default="variant",
        help="report: the setting with a line for each value",
    )
    return parser


def _chosen(patterns: Sequence[str]) -> list[Experiment]:
    if not patterns:
        raise ValueError("`show` needs a name. Received: none")
    chosen = []
    for pattern in patterns:
        matches = [
            experiment
            for name, experiment in EXPERIMENTS.items()
            if fnmatch.fnmatchcase(name, pattern)
            or fnmatch.fnmatchcase(experiment.task, pattern)
        ]
        if not matches:
            raise ValueError(
                "There is no such experiment; `list` shows all. "
                f"Received: {pattern!r}"
            )
        chosen += matches
    return chosen


def _line(experiment: Experiment) -> str:
    paper = experiment.paper_error
    printed = f"paper: {paper} %" if paper else ""
    table = f"table {experiment.table}" if experiment.table.isdigit() else ""
    return f"{experiment.name:55} {table or experiment.table:10} {printed}"


if __name__ == "__main__":
    main()
