"""The guide to searches of hyperparameters runs as printed."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "guides" / "search.md"


def test_code_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    names = {
        "x_train": generator.normal(size=(64, 64)).astype("float32"),
        "y_train": generator.integers(0, 10, 64),
    }
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 3
    assert capsys.readouterr().out.count("'rho': ") == 2
