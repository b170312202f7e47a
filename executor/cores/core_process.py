"""Devices ``cpu:0``, ``cpu:1``, …: a process each, with cores of its own; here is our end of it.

Times are those of the process, whose clock is ours: ``time.perf_counter_ns`` counts from the same
moment in all processes of a machine.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from executor.cores.core_worker import Back, Cancel, Failed, Order, Submit
from executor.engine import CallReport, EngineCall, Key, Listener, Tokened
from executor.guarding import Guarded
from executor.inprocess.models import LoadedModel
from executor.inprocess.running_call import turn_away
from staircase.errors import EngineError

START = "from executor.cores.core_worker import main; main({})"
ROOT = Path(__file__).parents[2]
# For the iteration under way.
CLOSE_S = 10.0


@dataclass(frozen=True)
class _Sent:
    engine: str
    call: EngineCall
    listener: Listener

    @property
    def name(self) -> tuple[str, Key]:
        return self.engine, self.call.key


class CoreProcess:
    """The process of one device, started at once; a context manager."""

    def __init__(self, device: str, order: Order) -> None:
        self.device = device
        self._lock = threading.Lock()
        self._count = count()
        # Of the calls that have not ended.
        self._sent: dict[int, _Sent] = {}
        self._numbers: dict[tuple[str, Key], int] = {}
        self._is_over = False
        self._pipe, theirs = Pipe()
        self._process = _start(theirs)
        self._pipe.send(order)
        self._thread = threading.Thread(target=self._listen, name=device, daemon=True)

    def open(self) -> None:
        """Waits until its engines are there.

        Raises:
            StaircaseError: what kept the process from opening them, as it was there.
            EngineError: the process has ended.
        """
        try:
            told: Back = self._pipe.recv()
        except EOFError:
            told = Failed(EngineError, self._end_in_words())
        if isinstance(told, Failed):
            raise told.kind(f"device {self.device!r}: {told.words}")
        self._thread.start()

    def submit(self, engine: str, call: EngineCall, listener: Listener) -> None:
        with self._lock:
            number, sent = next(self._count), _Sent(engine, call, listener)
            if not self._is_over:
                self._sent[number] = sent
                self._numbers[sent.name] = number
                self._send(Submit(number, engine, call))
                return
        threading.Thread(target=self._refuse, args=(sent,), daemon=True).start()

    def cancel(self, engine: str, key: Key) -> None:
        with self._lock:
            if (engine, key) in self._numbers:
                self._send(Cancel(self._numbers[engine, key], engine))

    def _send(self, message: Submit | Cancel) -> None:
        # The listening thread finds out whether the other end is there, and then ends all calls.
        with suppress(OSError):
            self._pipe.send(message)

    def __enter__(self) -> CoreProcess:
        return self

    def __exit__(self, *_: object) -> None:
        """The process ends when it hears no more from us."""
        _end_sending(self._pipe)
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._thread.is_alive():
            self._thread.join()
        self._pipe.close()

    # in the thread that listens

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._tell(*self._pipe.recv())
        with self._lock:
            self._is_over = True
        for number in list(self._sent):
            self._refuse(self._forget(number))

    def _tell(self, number: int, what: int | CallReport, time_ns: int = 0) -> None:
        if isinstance(what, CallReport):
            sent = self._forget(number)
            sent.listener.on_end(sent.call.key, what)
        else:
            sent = self._sent[number]
            sent.listener.on_token(sent.call.key, what, time_ns)

    def _forget(self, number: int) -> _Sent:
        with self._lock:
            sent = self._sent.pop(number)
            del self._numbers[sent.name]
            return sent

    def _refuse(self, sent: _Sent) -> None:
        turn_away(sent.call, sent.listener, f"device {self.device!r}: {self._end_in_words()}")

    def _end_in_words(self) -> str:
        code = self._process.wait()
        return f"its process was ended by signal {-code}" if code < 0 else "its process has ended"


def _start(theirs: Connection[Any, Any]) -> subprocess.Popen[bytes]:
    """In a process group of its own, so that Ctrl-C comes to us alone."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with theirs:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", START.format(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
            process_group=0,
        )


def _end_sending(pipe: Connection[Any, Any]) -> None:
    with socket.socket(fileno=os.dup(pipe.fileno())) as end, suppress(OSError):
        end.shutdown(socket.SHUT_WR)


class CoreEngine(Tokened):
    """An engine in the process of a device; ``model`` is the same one here, for its tokens."""

    def __init__(self, name: str, model: LoadedModel, process: CoreProcess) -> None:
        super().__init__(model)
        self._name = name
        self._process = process

    def submit(self, call: EngineCall, listener: Listener) -> None:
        self._process.submit(self._name, call, Guarded(listener, self.cancel))

    def cancel(self, key: Key) -> None:
        self._process.cancel(self._name, key)
