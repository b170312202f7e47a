"""The house: imports run one way, quickly, and from this checkout."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from graphlib import TopologicalSorter
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


MOST_FILES = 20


def imported(path: Path) -> Iterator[str]:
    """Names of modules, or of what is in them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        floors = {name.split(".")[0] for name in imported(path)}
        assert floors & MAY_IMPORT.keys() - {package} <= MAY_IMPORT[package], path


def room(path: Path) -> str:
    """The folder of a package in which ``path`` lies, or itself where it lies in none.

    What a folder says in its ``__init__`` is apart from what its files do.
    """
    package, *inner = path.relative_to(ROOT).with_suffix("").parts
    return f"{package}/{'/'.join(inner) if path.name == '__init__.py' else inner[0]}"


def file_of(name: str) -> Path | None:
    """Of a module, or of what is in one; none for other packages."""
    path = ROOT / name.replace(".", "/")
    for one in (path, path.parent):
        for found in (one.with_suffix(".py"), one / "__init__.py"):
            if found.is_file():
                return found
    return None


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_rooms_of_a_package_import_in_no_circle(package: str) -> None:
    arrows: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        files = {file_of(name) for name in imported(path) if name.startswith(f"{package}.")}
        rooms = {room(file) for file in files if file is not None}
        arrows.setdefault(room(path), set()).update(rooms - {room(path)})
    assert list(TopologicalSorter(arrows).static_order())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_room_is_a_hall(package: str) -> None:
    files = [path.parent for path in (ROOT / package).rglob("*.py")]
    assert max(map(files.count, files)) <= MOST_FILES


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_are_this_checkouts(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).parent == ROOT / package


def test_importing_everything_does_not_load_torch() -> None:
    heavy = ["torch", "transformers", "optuna", "simpy", "altair", "pandas"]
    code = (
        "import planner, simulator, executor, profiles, staircase, planner.cli.app, sys;"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    print(f"{time.perf_counter() - started:.2f} s")
    assert done.stdout.strip() == "[]"


def test_the_compiled_cache_knows_every_compiled_source() -> None:
    from simulator.core.compiling import COMPILED

    simulator = ROOT / "simulator"
    users = {
        path.relative_to(simulator).with_suffix("").as_posix()
        for path in simulator.rglob("*.py")
        if "import compiled" in path.read_text()
    }
    assert users <= set(COMPILED)
