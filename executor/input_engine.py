"""Inputs in real time: what comes on a clock, whoever reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from executor.engine import CallReport, EngineCall, Key, Listener, Tokened
from executor.guarding import Guarded
from executor.openai.vocabularies import TextPieces
from executor.tokens.rendering import PromptFormat
from staircase.messages import EndReason
from staircase.pipeline import Arrival

# An input is given none.
NO_PROMPT = PromptFormat("", "", "", "")


class InputEngine(Tokened):
    """Brings the tokens of ``EngineCall.prompt_ids`` as ``arrival`` says, each call in a thread.

    Its tokens are words.
    """

    def __init__(self, arrival: Arrival, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        super().__init__(TextPieces("words of inputs"))
        self._arrival = arrival
        self._now_ns = now_ns
        self._stops: dict[Key, threading.Event] = {}

    def submit(self, call: EngineCall, listener: Listener) -> None:
        stop = self._stops[call.key] = threading.Event()
        arguments = (call, Guarded(listener, self.cancel), stop)
        threading.Thread(target=self._bring, args=arguments, name="input", daemon=True).start()

    def cancel(self, key: Key) -> None:
        if key in self._stops:
            self._stops[key].set()

    def _bring(self, call: EngineCall, listener: Listener, stop: threading.Event) -> None:
        started, text = self._now_ns(), call.prompt_ids[: call.max_tokens]
        reason: EndReason = "length" if len(text) == call.max_tokens else "stop"
        for number, token in enumerate(text, start=1):
            last = self._arrival.last_of_segment(number, len(text))
            due = started + round(1e9 * self._arrival.seconds(last))
            if stop.wait(max(due - self._now_ns(), 0) / 1e9):
                reason = "cancelled"
                break
            listener.on_token(call.key, token, self._now_ns())
        del self._stops[call.key]
        listener.on_end(call.key, CallReport(reason, started, self._now_ns(), 0, 0))
