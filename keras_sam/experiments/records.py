"""Records of finished runs, one line of JSON each."""

import datetime
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_sam
from keras_sam import validation
from keras_sam.experiments import files
from keras_sam.experiments.config import Experiment

Record = dict[str, Any]

_FIELDS: dict[str, type] = {
    **{"name": str, "paper_error": str, "seed": int, "error": float},
    **{"num_train": int, "num_weights": int, "settings": dict},
}


def make(
    experiment: Experiment, seed: int, metrics: dict[str, Any], command: str
) -> Record:
    """Return the record of a run, a dictionary that JSON can represent."""
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
    """Return a short name for a run, a hash of settings and seed."""
    # Sorted: the order of arguments in `sam` is not a setting.
    text = json.dumps([experiment.settings(), seed], sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:8]}-seed-{seed}"


def finished(records: list[Record], experiment: Experiment) -> set[int]:
    """Return the seeds of an experiment that have a record."""
    settings = experiment.settings()
    return {r["seed"] for r in records if r["settings"] == settings}


def read(file: Path) -> list[Record]:
    """Return the records of a file, none if there is no file.

    A last line that a kill has truncated is ignored, with a warning. A setting
    that a record is too old to have gets its default.

    Raises:
        DamagedFileError: If a line is not a record.
    """
    checked = []
    for number, line in enumerate(files.whole_lines(file), 1):
        try:
            checked.append(_checked(json.loads(line)))
        except ValueError as error:
            raise files.DamagedFileError(
                f"{file}, line {number}, is no record of a run: {error}"
            ) from error
    return checked


def append(file: Path, record: Record) -> None:
    """Add a record to a file, instead of a truncated last line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as opened:
        opened.seek(0)
        opened.truncate(files.whole_size(opened.read()))
        opened.write(f"{json.dumps(record)}\n".encode())


def _checked(record: Any) -> Record:
    """Return a record with all settings.

    Raises:
        ValueError: If a field is missing or of another type.
    """
    if not isinstance(record, dict):
        raise ValueError(f"It must be a dictionary. Received: {record!r}")
    _check_types(record, _FIELDS)
    if not math.isfinite(record["error"]):
        raise ValueError(
            f"`error` must be finite. Received: error={record['error']}"
        )
    defaults = Experiment(task="", variant="").settings()
    settings = defaults | record["settings"]
    types = {name: type(default) for name, default in defaults.items()}
    _check_types(settings, types)
    return record | {"settings": settings}


def _check_types(values: Any, types: dict[str, type]) -> None:
    for name, declared in types.items():
        value = values.get(name)
        if not validation.is_of_type(value, declared):
            raise ValueError(
                f"`{name}` must be {declared.__name__}. "
                f"Received: {name}={value!r}"
            )


def _commit() -> str | None:
    """Return the commit of the package, `None` outside of git."""
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip() or None
