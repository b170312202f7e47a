"""One command at a time works in a folder or on a file; the next one is told who does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from staircase.errors import InputError

# Two that begin at once may meet a lock that is about to vanish.
PATIENCE_S = 0.2


@contextmanager
def sole_use(path: Path, command: str, is_file: bool = False) -> Iterator[None]:
    """Holds ``path`` for ``command``: a folder, made if it is absent, or a file to be written.

    The lock ends with its process. Within one thread, to hold it twice is to hold it once. A folder
    that was made and is still empty in the end is removed.

    Raises:
        InputError: another process holds it, or nothing can be written there.
    """
    folder = path.parent if is_file else path
    lock_path = path.with_name(f".{path.name}.lock") if is_file else path / ".lock"
    lock = FileLock(lock_path, is_singleton=True)
    is_outermost, is_new = not lock.is_locked, not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=PATIENCE_S)
        if is_outermost:
            lock_path.write_text(_who(command), encoding="utf-8")
    except Timeout:
        raise InputError(
            f"{path}: in use by {_holder(lock_path)}; wait for its end, or name another place"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        if is_outermost:
            lock_path.unlink(missing_ok=True)
        lock.release()
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _who(command: str) -> str:
    now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    return f"'staircase {command}' (process {os.getpid()} on {socket.gethostname()}, since {now})"


def _holder(lock_path: Path) -> str:
    try:
        return lock_path.read_text(encoding="utf-8") or "another command"
    except OSError:
        return "another command"
