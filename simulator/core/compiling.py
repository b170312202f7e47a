"""``compiled``: numba, with a cache that knows of every compiled source.

numba itself looks only at the file of the function that it loads from its cache, not at those of
the functions that were compiled into it; so the cache's folder is named after a hash of them all.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from numba import config, njit

P = ParamSpec("P")
R = TypeVar("R")

SIMULATOR = Path(__file__).parents[1]
# All whose functions are compiled, or whose numbers are constants in compiled code.
COMPILED = (
    "analytic/alone",
    "compiled/call_tables",
    "compiled/loop_state",
    "compiled/packed_replicas",
    "compiled/replica_pool",
    "compiled/results",
    "compiled/table_loop",
    "core/blocks",
    "core/calls",
    "core/compiling",
    "core/content",
    "core/cost",
    "core/iterations",
    "core/replica",
    "core/scheduling",
    "event_queue",
)
FILES = (
    *(SIMULATOR / f"{name}.py" for name in COMPILED),
    SIMULATOR.parent / "staircase" / "bounds.py",
)
# Its checkers do not know all of its attributes.
numba_config: Any = config


@cache
def cache_folder() -> str:
    sources = b"".join(file.read_bytes() for file in FILES)
    digest = hashlib.sha256(sources).hexdigest()
    writable = os.access(SIMULATOR, os.W_OK)
    base = SIMULATOR / "__pycache__" if writable else Path(tempfile.gettempdir()) / "staircase"
    return str(base / f"numba-{digest[:12]}")


def is_compiled() -> bool:
    """Whether some of it is in the cache; compiling all of it takes about a minute."""
    return any(Path(cache_folder()).rglob("*.nbi"))


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles ``function`` when it is first called, or loads it from the cache.

    It may neither make nor return arrays: references are not counted, as counting those of some
    fifty arrays at each call of a helper took nearly all of the simulator's time. Passing them took
    half of what was left, so functions become part of those that call them.
    """
    return _compiled(function, _nrt=False, forceinline=True)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Becomes part of the compiled functions that call it, so it may return views of arrays."""
    return _compiled(function, _nrt=False, inline="always")


def _compiled(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    before, numba_config.CACHE_DIR = numba_config.CACHE_DIR, cache_folder()
    try:
        dispatcher: Callable[P, R] = njit(cache=True, **options)(function)
    finally:
        numba_config.CACHE_DIR = before
    return dispatcher
