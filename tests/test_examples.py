"""Every example runs, in the short form of `--smoke`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
RECORDER = Path(__file__).parent / "record_orders.py"

# A worker that is restarted needs the same order in each epoch.
KEEPS_ITS_ORDER = {"multi_worker.py"}

# The first mode of the benchmark, by backend.
MODE = {"tensorflow": "graph", "jax": "XLA", "torch": "eager"}[
    keras.backend.backend()
]

# Arguments of each script, files that it writes, and texts that it prints.
SCRIPTS = {
    "quickstart.py": (
        ["--output", "out.png"],
        ["out.png"],
        ["clean test accuracy", "seconds per epoch", "SAMModel"],
    ),
    "benchmarks/step_time.py": (
        [],
        [],
        [
            "| network | mode | method | plain step | SAM step | ratio |",
            f"| mlp | {MODE} | sam |",
            "| extra copies of weights |",
        ],
    ),
    "benchmarks/distribution.py": (
        [],
        [],
        ["| replicas | mode | plain step |", "| 2 | XLA |"],
    ),
    "benchmarks/pipeline.py": (
        [],
        [],
        ["| augmentation | images a second and core |", "| auto_augment |"],
    ),
    "distributed.py": (
        ["--strategy", "cpus"],
        [],
        ["strategy cpus, replicas 2", "clean test accuracy"],
    ),
    "edge_of_stability.py": (
        ["--records", "records.json", "--output", "out.png"],
        ["out.png", "records.json"],
        ["largest eigenvalue", "predicted"],
    ),
    "finetune.py": (
        [],
        ["backbone.keras"],
        ["test accuracy", "SGD", "SAM"],
    ),
    "efficientnet_lite.py": (
        [],
        ["random.keras"],
        ["3,413,024 weights"],
    ),
    "finetune_pretrained.py": (
        ["--records", "records.jsonl", "--output", "out.png"],
        ["out.png", "random.keras", "records.jsonl"],
        ["SGD", "SAM", "wrong labels learned"],
    ),
    "figure_3.py": (
        ["--records", "records.jsonl", "--output", "out.png"],
        ["out.png", "records.jsonl"],
        ["SGD", "SAM", "largest eigenvalue"],
    ),
    "measure_sharpness.py": (
        ["--output", "out.png"],
        ["out.png"],
        ["largest eigenvalue", "worst-case sharpness at 0.5", "SAMModel"],
    ),
    "benchmarks/hessian.py": (
        [],
        [],
        ["| one product |", "| copies of the weights |"],
    ),
    "benchmarks/runner.py": (
        [],
        [],
        ["| bare step | step in the runner | ratio |"],
    ),
    "custom_loop.py": ([], [], ["sharpness", "among the first ten"]),
    "multi_worker.py": ([], ["multi_worker.keras"], ["clean test accuracy"]),
    "write_a_method.py": ([], [], ["clean test accuracy", "PowerSAM"]),
    "wrong_labels.py": (
        ["--records", "records.jsonl", "--output", "out.png"],
        ["out.png", "records.jsonl"],
        ["SGD", "SAM", "wrong labels learned"],
    ),
    "long_tail.py": (
        ["--records", "records.jsonl", "--output", "out.png"],
        ["out.png", "records.jsonl"],
        ["SAM, ascent weighted", "balanced test accuracy"],
    ),
    "language_model.py": (
        ["--records", "records.jsonl", "--output", "out.png"],
        ["out.png", "records.jsonl"],
        ["AdamW", "FunctionalSAM", "validation loss"],
    ),
    "quantize.py": ([], [], ["int8", "4 bits", "SAMModel"]),
    "frontier.py": (
        ["--records", "records.jsonl", "--output", "out.png"],
        ["out.png", "records.jsonl"],
        ["SGD", "SAM"],
    ),
}


def test_every_example_is_run_here():
    scripts = {
        str(path.relative_to(EXAMPLES))
        for path in EXAMPLES.rglob("*.py")
        if "__main__" in path.read_text()
    }
    assert scripts == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_example_runs_reshuffles_and_writes_its_plot_and_table(
    script, tmp_path
):
    arguments, files, texts = SCRIPTS[script]
    before = set(EXAMPLES.rglob("*"))
    result = subprocess.run(
        [
            sys.executable,
            str(RECORDER),
            "orders.json",
            str(EXAMPLES / script),
            "--smoke",
            *arguments,
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for name in files:
        assert (tmp_path / name).stat().st_size > 0
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    for text in texts:
        assert text in result.stdout
    orders = tmp_path / "orders.json"
    if orders.exists() and script not in KEEPS_ITS_ORDER:
        for first, second in json.loads(orders.read_text()):
            assert first != second
    # Except for Python's cache, a run adds nothing to the folder of scripts.
    present = {p for p in EXAMPLES.rglob("*") if "__pycache__" not in str(p)}
    assert present <= before


@pytest.mark.parametrize("script", SCRIPTS)
def test_example_has_its_command_and_time_in_its_docstring(script):
    text = (EXAMPLES / script).read_text()
    docstring = text.split('"""')[1]
    assert f"python examples/{script}" in docstring
    assert "two\nCPU cores" in docstring or "two CPU cores" in docstring
    assert "--smoke" in text
    assert f"`{script}`" in (EXAMPLES / "README.md").read_text()
