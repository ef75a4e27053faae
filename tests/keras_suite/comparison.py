"""Runs of Keras' tests in processes of their own, and what differs."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests import running
from tests.keras_suite import files
from tests.keras_suite import refusals

PASSED, SKIPPED = "passed", "skipped"

MODES = ("step-0", "step", "class")

FOUR_DEVICES = "--xla_force_host_platform_device_count=4"
"""For JAX, which has one device on a machine without a GPU."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Tests by what came out of them.

    Attributes:
        passed: Those that pass.
        skipped: Those that are skipped.
        failed_anyway: Those that fail with Keras as it is, too.
        refused: Those of `refusals` that fail.
        needless: Those of `refusals` that pass.
        new: All others that fail, with what they say.
    """

    passed: list
    skipped: list
    failed_anyway: list
    refused: list
    needless: list
    new: list

    def __str__(self):
        fields = dataclasses.fields(self)
        numbers = {f.name: len(getattr(self, f.name)) for f in fields}
        return ", ".join(f"{n} {name}" for name, n in numbers.items())


def compare(group, mode, *arguments):
    """Return what a mode changes in a group of tests.

    Args:
        group: A name in `files.GROUPS`.
        mode: One of `MODES`.
        *arguments: For pytest.
    """
    with tempfile.TemporaryDirectory() as cache:
        after = _outcomes(cache, group, mode, *arguments)
        failed = {t: s for t, s in after.items() if s not in (PASSED, SKIPPED)}
        before = {}
        if failed:
            last_failed = ("--last-failed", "--last-failed-no-failures=none")
            before = _outcomes(cache, group, "plain", *last_failed, *arguments)
    anyway = {t for t in failed if before[t] not in (PASSED, SKIPPED)}
    known = refusals.of(mode)
    return Comparison(
        passed=[t for t in after if after[t] == PASSED],
        skipped=[t for t in after if after[t] == SKIPPED],
        failed_anyway=sorted(anyway),
        refused=sorted(failed.keys() & known.keys() - anyway),
        needless=[t for t in known if after.get(t) == PASSED],
        new=[
            f"{t}: {failed[t]}"
            for t in sorted(failed.keys() - known.keys() - anyway)
        ],
    )


def _outcomes(cache, group, mode, *arguments):
    """Return `PASSED`, `SKIPPED` or a message for each test."""
    report = Path(cache) / "report.xml"
    report.unlink(missing_ok=True)
    process = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.keras_suite.plugin"),
            *("-q", "--disable-warnings", "-o", f"cache_dir={cache}"),
            *("-c", os.devnull, f"--rootdir={files.ROOT}"),
            *(f"--junitxml={report}", *arguments),
            *(str(files.ROOT / name) for name in files.GROUPS[group]),
        ],
        cwd=running.ROOT,
        env=running.environment(KERAS_SUITE_MODE=mode, XLA_FLAGS=FOUR_DEVICES),
        capture_output=True,
        text=True,
    )
    if not report.exists():
        raise RuntimeError(
            f"{group} in mode {mode}: {process.stdout}{process.stderr}"
        )
    cases = ElementTree.parse(report).iter("testcase")
    return {_name(case): _outcome(case) for case in cases}


def _name(case):
    """Return a name like `models.model_test.ModelTest.test_reviving`."""
    name = f"{case.get('classname')}.{case.get('name')}".strip(".")
    return name.removeprefix("keras.src.")


def _outcome(case):
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            return found.get("message") or kind
    return PASSED if case.find("skipped") is None else SKIPPED
