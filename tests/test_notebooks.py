"""The notebooks run from top to bottom, and are kept without their output."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
# What makes the long one short enough: fewer of everything.
SHORTER = {
    'Path(planner.__file__).parent / "demo.yaml"': 'Path("small.yaml")',
    "budget_s=10.0": "budget_s=6.0",
    "trials=100": "trials=16",
    "requests=8": "requests=2",
}


def code_of(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_are_some() -> None:
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    for cell in code_of(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run(path: Path, tmp_path: Path) -> None:
    code = "\n".join("".join(cell["source"]) for cell in code_of(path))
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    for example in (ROOT / "examples").glob("*.yaml"):
        shutil.copy(example, tmp_path)
    demo = (ROOT / "planner" / "demo.yaml").read_text()
    small = demo.replace("requests: 48", "requests: 6").replace("front: 3", "front: 1")
    (tmp_path / "small.yaml").write_text(small)
    script = tmp_path / "cells.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/*/report.html"))) == 1
