"""The notebooks run from top to bottom, and are kept without their output."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
# What makes the long one short enough: fewer of everything.
SHORTER = {
    'Path(planner.__file__).parent / "demo.yaml"': 'Path("small.yaml")',
    "budget_s=10.0": "budget_s=6.0",
    "trials=100": "trials=16",
    "requests=8": "requests=2",
}


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def run_in(folder: Path, notebook: Any) -> Any:
    """The notebook with its output; the examples are beside it."""
    for example in (ROOT / "examples").glob("*.yaml"):
        shutil.copy(example, folder)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=900, resources=resources).execute()


@pytest.fixture(autouse=True)
def of_this_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


def test_there_are_some() -> None:
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    for cell in code_of(read(path)):
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run(path: Path, tmp_path: Path) -> None:
    demo = (ROOT / "planner" / "demo.yaml").read_text()
    small = demo.replace("requests: 48", "requests: 6").replace("front: 3", "front: 1")
    (tmp_path / "small.yaml").write_text(small)
    notebook = read(path)
    for cell in code_of(notebook):
        for long, short in SHORTER.items():
            cell.source = cell.source.replace(long, short)
    run_in(tmp_path, notebook)
    assert len(list(tmp_path.glob("runs/*/report.html"))) == 1


@pytest.mark.slow
def test_the_front_door_shows_tables_and_charts(tmp_path: Path) -> None:
    notebook = read(ROOT / "examples" / "front_door.ipynb")
    assert len(notebook.cells) <= 12
    (imports,) = (cell.source for cell in code_of(notebook) if "import " in cell.source)
    assert imports.startswith("import planner\n\n")
    shown = [html for cell in code_of(run_in(tmp_path, notebook)) for html in htmls(cell)]
    assert ["vegaEmbed" in html for html in shown] == [False, True, False, True, False]
    assert all("<table" in html for html in shown if "vegaEmbed" not in html)


def htmls(cell: Any) -> Iterator[str]:
    for output in cell.outputs:
        if "text/html" in output.get("data", {}):
            yield output.data["text/html"]
