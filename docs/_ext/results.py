"""Tables and pictures of results, from `examples/records/`."""

import collections
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "examples" / "records"
REPORT = [sys.executable, "-m", "keras_sam.experiments", "report"]


def _script(name, *arguments):
    script = str(ROOT / "examples" / f"{_records(name)}.py")
    return lambda folder: [
        sys.executable,
        script,
        "--report",
        *arguments,
        "--output",
        str(folder / f"{name}.png"),
    ]


def _records(name):
    """Return the name of the records of a result: `NAME` of `NAME-PART`."""
    return name.partition("-")[0]


def _seeds(first, last):
    return "--seeds", *map(str, range(first, last + 1))


def _experiments(name, *arguments):
    records = str(RECORDS / f"{name}.jsonl")
    return lambda folder: [
        *REPORT,
        records,
        *arguments,
        "--folder",
        str(folder / name),
    ]


RESULTS = {
    "frontier": _script("frontier"),
    "wrong_labels": _script("wrong_labels"),
    "figure_3": _script("figure_3", *_seeds(15, 54)),
    "figure_3-first_seeds": _script("figure_3-first_seeds", *_seeds(0, 14)),
    "figure_3-interpolated": _script(
        "figure_3-interpolated", "--setting", "interpolated"
    ),
    "figure_3-short": _script("figure_3-short", "--setting", "short"),
    "edge_of_stability": _script("edge_of_stability"),
    "language_model": _script("language_model"),
    "label_noise": _experiments("label_noise", "--x", "label_noise"),
    "m_sharpness": _experiments(
        "m_sharpness", "--x", "rho", "--by", "num_microbatches"
    ),
}


def described(name):
    """Return in a sentence what records a result has, if it has its own."""
    if name != _records(name):
        return ""
    file = RECORDS / f"{name}.jsonl"
    if not file.exists():
        return f"Records: `examples/records/{name}.json`.\n"
    runs = [json.loads(line) for line in file.read_text().splitlines()]
    seeds = sorted({run["seed"] for run in runs})
    kinds = collections.Counter(run.get("note", "") for run in runs)
    text = (
        f"Records: `examples/records/{name}.jsonl`, {len(runs)} runs, seeds "
        f"{seeds[0]} to {seeds[-1]}, Keras {runs[0]['versions']['keras']}."
    )
    for kind, count in kinds.items():
        text += f" {count} of the runs: {kind}." if kind else ""
    command = runs[0].get("command")
    if command:
        text += f" The first one:\n\n```sh\n{_wrapped(command)}\n```"
    return f"{text}\n"


def _wrapped(command):
    return re.sub(r" (?=--|\S+=)", " \\\n    ", command, count=2)


def _paragraphs(printed):
    """Return what a report prints, with tables and lines set apart."""
    lines = [line.rstrip() for line in printed.splitlines()]
    result = []
    for line in lines:
        in_table = line.startswith("|") and result[-1:] != []
        if not (in_table and result[-1].startswith("|")):
            result.append("")
        result.append(line)
    return "\n".join(result).strip() + "\n"


def _generate(app):
    folder = Path(app.srcdir) / "results" / "generated"
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "MPLBACKEND": "agg"}
    for name, command in RESULTS.items():
        table = folder / f"{name}.md"
        records = [*RECORDS.glob(f"{_records(name)}.*")]
        newest = max(file.stat().st_mtime for file in records)
        if not table.exists() or table.stat().st_mtime < newest:
            printed = subprocess.run(
                command(folder),
                cwd=ROOT,
                env={**environment, "PYTHONPATH": str(ROOT)},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
            text = f"{_paragraphs(printed)}\n{described(name)}".rstrip() + "\n"
            table.write_text(text, encoding="utf-8")


def setup(app):
    """Generate before pages are read."""
    app.connect("builder-inited", _generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
