"""The notebook for TPUs runs from top to bottom, on what there is."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "colab_tpu.ipynb"


def test_notebook_runs_from_top_to_bottom(tmp_path):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(code))
    result = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={
            **{k: v for k, v in os.environ.items() if "TPU" not in k},
            "PYTHONPATH": str(ROOT),
            "DATA": "digits",
            "EPOCHS": "1",
            "BATCH_SIZE": "128",
            "NUM_BLOCKS": "2",
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "replicas" in result.stdout
    assert "clean test accuracy" in result.stdout


def test_notebook_is_kept_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
