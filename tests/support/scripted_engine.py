"""An engine with known latencies that recites a script, in real time."""

from __future__ import annotations

import threading
import time
from zlib import crc32

from executor.engine import CallReport, EngineCall, Key, Listener
from staircase.messages import EndReason
from tests.support.characters import Characters


class ScriptedEngine(Characters):
    """Writes the token ids 1, 2, 3 … up to ``length`` over however many calls of a request."""

    def __init__(self, length: int, prefill_s: float = 0.002, token_s: float = 0.001) -> None:
        self._length = length
        self._prefill_s = prefill_s
        self._token_s = token_s
        self._cancelled: dict[Key, threading.Event] = {}

    def submit(self, call: EngineCall, listener: Listener) -> None:
        self._cancelled[call.key] = threading.Event()
        threading.Thread(target=self._serve, args=(call, listener), daemon=True).start()

    def cancel(self, key: Key) -> None:
        self._cancelled[key].set()

    def _serve(self, call: EngineCall, listener: Listener) -> None:
        started = time.perf_counter_ns()
        reason = self._write(call, listener)
        now = time.perf_counter_ns()
        listener.on_end(call.key, CallReport(reason, started, now, now - started, 0))

    def _write(self, call: EngineCall, listener: Listener) -> EndReason:
        cancelled = self._cancelled[call.key]
        for count in range(call.max_tokens):
            if cancelled.wait(self._prefill_s if count == 0 else self._token_s):
                return "cancelled"
            written = call.written + count
            if written == self._length:
                return "stop"
            listener.on_token(call.key, self._token(call, count), time.perf_counter_ns())
        return "length"

    def _token(self, call: EngineCall, count: int) -> int:
        return call.written + count + 1


class RecallingEngine(ScriptedEngine):
    """Writes letters that follow from its calls' prompts; the same prompt gives the same ones."""

    def _token(self, call: EngineCall, count: int) -> int:
        return ord("a") + crc32(repr([*call.prompt_ids, count]).encode()) % 26
