"""The compiled cache is named after every file that compiled code is made of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.core.compiling import FILES

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "simulator").rglob("*.py"))


def compiled_functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(getattr(one, "id", None) in ("compiled", "inlined") for one in node.decorator_list)
    ]


def imports_of(tree: ast.Module) -> dict[str, str]:
    """By the name in the module: the module that it is from, or is."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT / f"{inner.replace('.', '/')}.py").is_file()
                found[alias.asname or alias.name] = inner if is_module else node.module
    return found


def frozen_in(path: Path) -> Iterator[Path]:
    """Files of the project whose names the module's compiled functions use."""
    tree = ast.parse(path.read_text())
    functions, imports = compiled_functions(tree), imports_of(tree)
    if functions:
        yield path
    for function in functions:
        for node in (inner for line in function.body for inner in ast.walk(line)):
            if isinstance(node, ast.Name) and node.id in imports:
                file = ROOT / f"{imports[node.id].replace('.', '/')}.py"
                if file.is_file():
                    yield file


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_whatever_is_frozen_into_compiled_code_is_in_the_key(path: Path) -> None:
    assert {file.resolve() for file in frozen_in(path)} <= {file.resolve() for file in FILES}


def test_every_file_of_the_key_is_frozen_somewhere() -> None:
    """Or makes the types and options of compiled code."""
    used = {file.name for path in MODULES for file in frozen_in(path)}
    types = {f"{name}.py" for name in ("calls", "call_tables", "compiling", "loop_state")}
    assert {file.name for file in FILES} - used <= types


def test_numba_is_pinned_while_a_private_option_is_used() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert "_nrt" in (ROOT / "simulator" / "core" / "compiling.py").read_text()
    assert re.search(r'"numba>=[\d.]+,<[\d.]+"', text)
