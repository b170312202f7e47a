"""Files and modules that the docs name are there. The log tells of what was."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("staircase", "profiles", "simulator", "executor", "planner", "benchmarks", "tests")
PATHS = {path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
# Arena-Hard's.
FOREIGN = {"show_result.py"}
DOCS = sorted({ROOT / "README.md", *(ROOT / "docs").glob("*.md")} - {ROOT / "docs" / "log.md"})


def modules() -> set[str]:
    found = {".".join(path.with_suffix("").parts) for path in PATHS}
    return found | {name.removesuffix(".__init__") for name in found}


@pytest.mark.parametrize("doc", DOCS, ids=lambda path: path.stem)
def test_are_there(doc: Path) -> None:
    text = doc.read_text()
    files = set(re.findall(r"`([\w/]+\.py)`", text)) - FOREIGN
    tails = {"/".join(path.parts[n:]) for path in PATHS for n in range(len(path.parts))}
    assert not {name for name in files if name not in tails}
    known = modules()
    named = set(re.findall(rf"`((?:{'|'.join(FOLDERS)})(?:\.\w+){{2,}})`", text))
    assert not {name for name in named if not known.intersection(prefixes(name))}


def prefixes(name: str) -> list[str]:
    """A module's own names, and a class's, may follow it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in (len(parts), len(parts) - 1, len(parts) - 2)]


def test_there_is_something_to_look_at() -> None:
    assert len(DOCS) > 20
    assert any("`executor/measure/whole_drafts.py`" in doc.read_text() for doc in DOCS)
