"""An engine that recites what an agent once wrote.

An agent that reads nobody writes the same under every schedule, so only the others need be played
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from executor.engine import CallReport, EngineCall, Key, Listener, Tokened, Tokens
from executor.guarding import Guarded
from executor.inprocess.device import Device
from staircase.messages import EndReason


class ReplayEngine(Tokened):
    """Recites at once, in ``device``'s thread.

    Args:
        writer: whose tokens they are.
        texts: token ids by number of the job.
        now_ns: the clock of its times.
    """

    def __init__(
        self,
        device: Device,
        writer: Tokens,
        texts: Sequence[Sequence[int]],
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        super().__init__(writer)
        self._device = device
        self._texts = texts
        self._now_ns = now_ns
        # Calls that have not ended.
        self._open: set[Key] = set()

    def submit(self, call: EngineCall, listener: Listener) -> None:
        guarded = Guarded(listener, self.cancel)
        self._open.add(call.key)
        self._device.post(lambda: self._recite(call, guarded))

    def cancel(self, key: Key) -> None:
        self._open.discard(key)

    def _recite(self, call: EngineCall, listener: Listener) -> None:
        started = self._now_ns()
        text = self._texts[call.key[0]]
        rest = text[call.own_tokens : call.own_tokens + call.max_tokens]
        for token in rest:
            if call.key not in self._open:
                break
            listener.on_token(call.key, token, self._now_ns())
        ended: EndReason = "length" if len(rest) == call.max_tokens else "stop"
        reason: EndReason = ended if call.key in self._open else "cancelled"
        self._open.discard(call.key)
        now = self._now_ns()
        listener.on_end(call.key, CallReport(reason, started, now, now - started, 0))
