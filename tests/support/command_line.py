"""The command line as tests ask it: in this process, for a process of its own takes seconds."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from planner.cli.app import main

ROOT = Path(__file__).parents[2]
# Of a user who has set nothing.
PLAIN = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}


def staircase(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What ``staircase`` with these words prints in the folder ``cwd``, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd),
        _as_started(words, {**PLAIN, "HOME": str(cwd)}),
    ):
        code = _exit_code()
    return subprocess.CompletedProcess([*words], code, out.getvalue(), err.getvalue())


def staircase_process(
    *words: str, cwd: Path = ROOT, typed: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, which reads what is ``typed``."""
    return subprocess.run(
        [sys.executable, "-m", "planner.cli.app", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        input=typed,
        env={**PLAIN, "HOME": str(cwd)},
    )


def _exit_code() -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@contextlib.contextmanager
def _as_started(words: tuple[str, ...], environment: dict[str, str]) -> Iterator[None]:
    """A command's words and environment; what it sets for its own process is undone."""
    argv, before, threshold, freeze = sys.argv, dict(os.environ), gc.get_threshold(), gc.freeze
    sys.argv = ["staircase", *words]
    os.environ.clear()
    os.environ.update(environment)
    gc.freeze = lambda: None
    try:
        yield
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(before)
        gc.set_threshold(*threshold)
        gc.freeze = freeze
