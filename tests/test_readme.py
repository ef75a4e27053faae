"""What README.md says can be typed in."""

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
    assert len(blocks) == 3
    for block in blocks:
        exec(block, namespace)
    assert "sharpness" in capsys.readouterr().out


def test_use_takes_ten_lines():
    block = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(block.group(1).replace("\n\n", "\n").splitlines()) <= 10


def test_install_has_one_command_for_the_quickstart_and_one_for_the_tests():
    install = README.split("\n## Install\n")[1].split("\n## ")[0]
    commands = re.findall(r"```sh\n(.*?)```", install, flags=re.DOTALL)
    assert len(commands) == 2
    assert "python examples/quickstart.py" in commands[0]
    assert "python -m pytest" in commands[1]


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_link_to_a_file_leads_somewhere(link):
    assert link.startswith("https://") or (ROOT / link).exists()


def test_figure_is_small_enough_to_load_at_once():
    assert (ROOT / "examples" / "quickstart.png").stat().st_size < 200_000
