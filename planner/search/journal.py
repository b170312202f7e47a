"""Optuna's journal of studies in a file, made safe against a writer that is killed.

Optuna's own lock outlives its process, and a line that was not written to its end spoils all that
comes after it.
"""

from __future__ import annotations

import json
from pathlib import Path

from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from staircase.errors import PlanError


class _KernelLock(JournalFileOpenLock):
    """Ends with its process; Optuna's own outlives a process that is killed by 30 seconds."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def open_journal(path: Path) -> tuple[JournalStorage, FileLock]:
    """And the lock that whoever writes holds.

    Raises:
        PlanError: it cannot be written, or is no journal.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check(path)
        # The lock itself would be waited for without end where its file cannot be made.
        _lock_path(path).touch()
        lock = FileLock(_lock_path(path), thread_local=False)
        with lock:
            _mend(path)
            backend = JournalFileBackend(str(path), _KernelLock(lock))
            return JournalStorage(backend), lock
    except OSError as error:
        raise PlanError(f"{path}: cannot be written ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise PlanError(f"{path}: not a journal of Optuna; name another file") from None


def _lock_path(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.lock")


def remove_journal(path: Path) -> None:
    path.unlink()
    _lock_path(path).unlink(missing_ok=True)


def _check(path: Path) -> None:
    """Raises ValueError, KeyError or TypeError if something else is there."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            json.loads(file.readline())["op_code"]


def _mend(path: Path) -> None:
    """Drops a last line that a killed process did not write to its end."""
    if path.is_file():
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
