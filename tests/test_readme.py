"""The code and the links in README.md work."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_python_code_runs_as_printed(capsys):
    rng = np.random.default_rng(0)
    namespace = {
        "x_train": rng.normal(size=(64, 64)).astype("float32"),
        "y_train": rng.integers(0, 10, 64),
    }
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, namespace)
    assert "sharpness" in capsys.readouterr().out


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_link_to_a_file_leads_somewhere(link):
    assert link.startswith("https://") or (ROOT / link).exists()
