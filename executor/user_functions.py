"""Functions of the user's that a scenario names, as ``FILE.py:NAME`` or ``MODULE:NAME``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from executor.guarding import in_words
from staircase.errors import ScenarioError
from staircase.files import named_path


def user_function(key: str, name: str, folder: Path, call: str) -> Callable[..., Any]:
    """The function that ``key`` of a scenario in ``folder`` names.

    Args:
        call: what follows its name in a definition, as ``(question), returning True or False``.

    Raises:
        ScenarioError: there is none.
    """
    place, _, attribute = name.rpartition(":")
    try:
        module = _import(place, folder)
    except Exception as error:  # the file is the user's
        raise ScenarioError(f"{key}: {place} cannot be imported: {first_words(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ScenarioError(
            f"{key}: {place} has no function {attribute!r}; it should be def {attribute}{call}"
        )
    return cast(Callable[..., Any], function)


def _import(place: str, folder: Path) -> ModuleType:
    """A file beside the scenario, or a module that is installed or lies there."""
    # At the end: a user's file must not hide a package.
    sys.path.append(str(folder.resolve()))
    try:
        return (
            _run_file(named_path(place, folder)) if place.endswith(".py") else import_module(place)
        )
    finally:
        sys.path.pop()


def _run_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_words(error: Exception) -> str:
    return f"{' '.join(in_words(error).split()):.200}"
