"""Records of finished runs, one line of JSON each."""

import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_sam
from keras_sam.experiments.config import Experiment

Record = dict[str, Any]


def make(
    experiment: Experiment, seed: int, metrics: dict[str, Any], command: str
) -> Record:
    """Return the record of a run, a dictionary that JSON can hold."""
    backend = keras.backend.backend()
    return {
        "name": experiment.name,
        "paper_error": experiment.paper_error,
        "seed": seed,
        **metrics,
        "settings": experiment.settings(),
        "command": command,
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
        "commit": _commit(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "keras_sam": keras_sam.__version__,
            "numpy": np.__version__,
            backend: sys.modules[backend].__version__,
        },
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "device": str(keras.ops.convert_to_tensor(0.0).device),
        },
    }


def digest(experiment: Experiment, seed: int) -> str:
    """Return a short name for a run: equal for equal settings and seed."""
    text = json.dumps([experiment.settings(), seed], sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:8]}-seed-{seed}"


def finished(records: list[Record], experiment: Experiment) -> set[int]:
    """Return the seeds for which an experiment has a record."""
    settings = experiment.settings()
    return {r["seed"] for r in records if r["settings"] == settings}


def read(file: Path) -> list[Record]:
    """Return the records of a file, none if there is no file.

    A line that was cut off when a run was killed is left out. A setting that
    came after a record was written has its default.
    """
    if not file.exists():
        return []
    lines = file.read_text().splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    defaults = Experiment(task="", variant="").settings()
    return [r | {"settings": defaults | r["settings"]} for r in found]


def append(file: Path, record: Record) -> None:
    """Add a record to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and not file.read_text().endswith("\n"):
        whole = file.read_text().rpartition("\n")
        file.write_text(whole[0] + whole[1])
    with file.open("a") as opened:
        opened.write(json.dumps(record) + "\n")


def _commit() -> str | None:
    """Return the commit that the package is at, `None` outside of git."""
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip() or None
