"""The house: imports run one way, quickly, and from this checkout."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "staircase": set[str](),
    "profiles": {"staircase"},
    "simulator": {"staircase", "profiles"},
    "executor": {"staircase", "profiles"},
    "planner": {"staircase", "profiles", "simulator", "executor"},
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        others = set(imported(path)) & MAY_IMPORT.keys() - {package}
        assert others <= MAY_IMPORT[package], path


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_are_this_checkouts(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).parent == ROOT / package


def test_importing_everything_does_not_load_torch() -> None:
    code = (
        "import planner, simulator, executor, profiles, staircase, planner.cli, sys;"
        "print([m for m in ('torch', 'transformers', 'optuna', 'simpy') if m in sys.modules])"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    print(f"{time.perf_counter() - started:.2f} s")
    assert done.stdout.strip() == "[]"


def test_the_compiled_cache_knows_every_compiled_source() -> None:
    from simulator.compiling import COMPILED

    users = {
        path.stem
        for path in (ROOT / "simulator").glob("*.py")
        if "import compiled" in path.read_text()
    }
    assert users <= set(COMPILED)
