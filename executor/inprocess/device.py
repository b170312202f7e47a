"""One device, shared in turn: every engine with work runs one iteration, then the next one.

One thread and one iteration at a time is the fastest way to serve several small models on a CPU,
and it makes the order of events the same as in the simulator.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import torch

from staircase.turns import next_in_turn


class TurnTaker(Protocol):
    @property
    def has_work(self) -> bool: ...

    def turn(self) -> None:
        """Run one iteration."""
        ...


class Device:
    """Owns the thread in which its engines run; a context manager."""

    def __init__(self) -> None:
        # Each with its threads.
        self._engines: list[tuple[TurnTaker, int]] = []
        self._last = 0
        self._errands: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._is_open = False
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def attach(self, engine: TurnTaker, threads: int = 1) -> None:
        """``engine`` takes part; ``threads`` compute its iterations."""
        self._engines.append((engine, threads))

    def post(self, errand: Callable[[], None]) -> None:
        """Runs ``errand`` in the device's thread before its next iteration."""
        self._errands.append(errand)
        if threading.current_thread() is not self._thread:
            with self._wake:
                self._wake.notify()

    def __enter__(self) -> Device:
        self._is_open = True
        # torch gives it, and what MKL is told, to every thread that has none of its own.
        self._threads_before = torch.get_num_threads()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._wake:
            self._is_open = False
            self._wake.notify()
        self._thread.join()
        torch.set_num_threads(self._threads_before)

    def _run(self) -> None:
        while self._is_open:
            while self._errands:
                self._errands.popleft()()
            found = self._next()
            if found:
                engine, threads = found
                torch.set_num_threads(threads)
                engine.turn()
            else:
                self._sleep()

    def _next(self) -> tuple[TurnTaker, int] | None:
        """The next engine with work."""
        number = next_in_turn([engine.has_work for engine, _ in self._engines], self._last)
        if number is None:
            return None
        self._last = number
        return self._engines[number]

    def _sleep(self) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._errands or not self._is_open)
