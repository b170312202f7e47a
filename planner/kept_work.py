"""What long work has finished, kept in a file until all of it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from executor.line_log import LineLog
from planner.progress import Progress
from staircase.errors import StaircaseError
from staircase.files import check_writable


@contextmanager
def kept_work(
    path: Path, keys: Collection[str], what: str, progress: Progress
) -> Iterator[LineLog]:
    """A log of what is finished, called ``what``, which is removed in the end.

    An interrupt or an error leaves it, and says so.

    Raises:
        InputError: nothing can be written there.
    """
    check_writable(path)
    log = LineLog(path, keys, what)
    going_on = [f"going on with {len(log)} {what} of {path}"] if len(log) else []
    progress.say([*log.notes, *going_on])
    try:
        yield log
    except (KeyboardInterrupt, StaircaseError):
        if path.exists():
            progress.say([f"kept: {path}; the same command goes on from there"])
        raise
    log.remove()
