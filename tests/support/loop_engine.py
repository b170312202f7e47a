"""An engine that recites, for loads: one thread for all its calls, however many there are."""

from __future__ import annotations

import asyncio
import threading
import time

from executor.engine import CallReport, EngineCall, Key, Listener
from staircase.messages import EndReason
from tests.support.characters import Characters

FIRST = 33


class LoopEngine(Characters):
    """Writes the characters from ``!`` on, a token each, as many as ``length`` a text."""

    def __init__(self, length: int, prefill_s: float = 0.005, token_s: float = 0.02) -> None:
        self._length = length
        self._prefill_s = prefill_s
        self._token_s = token_s
        self._tasks: dict[Key, asyncio.Task[EndReason]] = {}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def submit(self, call: EngineCall, listener: Listener) -> None:
        self._loop.call_soon_threadsafe(self._begin, call, listener)

    def cancel(self, key: Key) -> None:
        def cancel() -> None:
            if key in self._tasks:
                self._tasks[key].cancel()

        self._loop.call_soon_threadsafe(cancel)

    def _begin(self, call: EngineCall, listener: Listener) -> None:
        started = time.perf_counter_ns()
        task = self._loop.create_task(self._write(call, listener))
        self._tasks[call.key] = task

        def end(task: asyncio.Task[EndReason]) -> None:
            del self._tasks[call.key]
            reason: EndReason = "cancelled" if task.cancelled() else task.result()
            now = time.perf_counter_ns()
            listener.on_end(call.key, CallReport(reason, started, now, now - started, 0))

        task.add_done_callback(end)

    async def _write(self, call: EngineCall, listener: Listener) -> EndReason:
        for count in range(call.max_tokens):
            await asyncio.sleep(self._token_s if count else self._prefill_s)
            if call.written + count == self._length:
                return "stop"
            token = FIRST + call.written + count
            listener.on_token(call.key, token, time.perf_counter_ns())
        return "length"
