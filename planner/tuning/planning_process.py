"""A process that plans; what it has to import is what the function needs that it calls."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TypeVar

from staircase.errors import InputError, PlanError

Found = TypeVar("Found")

NICE = 10


class PlanningProcess:
    """Calls functions in a process of low priority each, which ends when this is closed."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._process: BaseProcess | None = None

    def call(self, function: Callable[..., Found], *given: object) -> Found:
        """What ``function`` returns, or the InputError that it raises.

        Raises:
            InputError: also where the process was ended.
        """
        here, there = self._context.Pipe(duplex=False)
        self._process = self._context.Process(
            target=_send_found, args=(there, function, given), daemon=True
        )
        self._process.start()
        there.close()
        try:
            found: Found | InputError = here.recv()
        except EOFError:
            raise PlanError("the process that planned was ended") from None
        if isinstance(found, InputError):
            raise found
        return found

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()


def _send_found(
    there: Connection, function: Callable[..., object], given: Sequence[object]
) -> None:
    os.nice(NICE)
    try:
        there.send(function(*given))
    except InputError as error:
        there.send(error)
