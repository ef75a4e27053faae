"""The notebook for TPUs runs from top to bottom, also without a TPU."""

import json
import os

from tests.running import ROOT
from tests.running import printed_by

NOTEBOOK = ROOT / "examples" / "colab_tpu.ipynb"


def test_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    for name in [name for name in os.environ if "TPU" in name]:
        monkeypatch.delenv(name)
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(code))
    printed = printed_by(
        script,
        cwd=tmp_path,
        DATA="digits",
        EPOCHS="1",
        BATCH_SIZE="128",
        NUM_BLOCKS="2",
    )
    assert "replicas" in printed
    assert "clean test accuracy" in printed


def test_notebook_is_kept_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
