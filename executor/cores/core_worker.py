"""The process of a device ``cpu:N``: its engines, asked and heard through a pipe.

A process, not a thread: Python holds its lock between two layers, so two threads that decode with
small models get hardly further than one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from executor.engine import CallReport, Engine, EngineCall, Key
from staircase.errors import StaircaseError
from staircase.spec.engine_spec import EngineSpec


@dataclass(frozen=True)
class Order:
    """What a worker is for: ``engines`` on ``cores``, or wherever the system likes if empty."""

    engines: Mapping[str, EngineSpec]
    cores: Sequence[int]


# Messages. There: what to do; back: what came. ``call`` is a number that its sender counts up.


@dataclass(frozen=True)
class Submit:
    call: int
    engine: str
    request: EngineCall


@dataclass(frozen=True)
class Cancel:
    call: int
    engine: str


@dataclass(frozen=True)
class Failed:
    """The engines cannot be opened, by an error of this kind."""

    kind: type[StaircaseError]
    words: str


# A token is (call, token, time_ns), an end (call, report); an empty tuple: the engines are open.
Back = tuple[int, int, int] | tuple[int, CallReport] | tuple[()] | Failed


@dataclass(frozen=True)
class _Teller:
    """The listener of all calls."""

    pipe: Connection[Any, Any]

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.pipe.send((key[0], token, time_ns))

    def on_end(self, key: Key, report: CallReport) -> None:
        self.pipe.send((key[0], report))


def main(descriptor: int) -> None:
    """Works until the other end of the pipe is closed. Ctrl-C is for that one to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe: Connection[Any, Any] = Connection(descriptor)
    try:
        order: Order = pipe.recv()
        _pin(order.cores)
        with ExitStack() as stack:
            engines = _open(stack, order, pipe)
            pipe.send(())
            while True:
                _do(pipe.recv(), engines, _Teller(pipe))
    except (EOFError, OSError):
        return


def _pin(cores: Sequence[int]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _open(stack: ExitStack, order: Order, pipe: Connection[Any, Any]) -> dict[str, Engine]:
    # Not before the process is pinned: torch counts the cores when it is imported.
    from executor.inprocess.opening import load_models, open_local

    try:
        return open_local(stack, order.engines, load_models(order.engines))
    except StaircaseError as error:
        pipe.send(Failed(type(error), str(error)))
        sys.exit(1)


def _do(message: Submit | Cancel, engines: Mapping[str, Engine], teller: _Teller) -> None:
    key = (message.call, 0)
    if isinstance(message, Submit):
        engines[message.engine].submit(replace(message.request, key=key), teller)
    else:
        engines[message.engine].cancel(key)
