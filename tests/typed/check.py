"""Runs type checkers as users do: `python -m tests.typed.check`.

They find nothing in `script.py` and each mistake in `mistakes.py`. In the
examples, where they complain of Keras, they say nothing of keras_sam.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = ("tests/typed/script.py", "tests/typed/mistakes.py", "examples")


def output_of(*command):
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode in (0, 1), found.stderr
    return found.stdout


def of_mypy():
    """Return the file, line and text of each complaint."""
    options = ("--strict", "--ignore-missing-imports", "--no-pretty")
    modules = ("--explicit-package-bases", "--config-file=")
    text = output_of(sys.executable, "-m", "mypy", *options, *modules, *FILES)
    pattern = r"^(.*?):(\d+): error: (.*)$"
    lines = re.findall(pattern, text, flags=re.MULTILINE)
    return [(ROOT / file, int(line), said) for file, line, said in lines]


def of_pyright():
    """Return the file, line and text of each complaint."""
    # The distribution of pyright that brings all it needs with it.
    command = ("basedpyright", "--outputjson", "--project", "tests/typed")
    python = ("--pythonpath", sys.executable)
    report = json.loads(output_of(*command, *python))
    assert report["summary"]["filesAnalyzed"] > len(FILES)
    return [
        (Path(d["file"]), d["range"]["start"]["line"] + 1, d["message"])
        for d in report["generalDiagnostics"]
    ]


def check(complaints):
    """Compare complaints with what they should be."""
    script, mistakes, examples = (ROOT / file for file in FILES)
    lines = mistakes.read_text().splitlines()
    wrong = {i + 1 for i, line in enumerate(lines) if "# wrong" in line}
    assert {line for file, line, _ in complaints if file == mistakes} == wrong
    others = [
        complaint
        for complaint in complaints
        if complaint[0] == script
        or (
            (examples in complaint[0].parents)
            and re.search("keras_sam|SAMModel", complaint[2])
        )
    ]
    assert not others, "\n".join(map(str, others))


if __name__ == "__main__":
    check(of_mypy())
    check(of_pyright())
    print("Type checkers say what they should.")
