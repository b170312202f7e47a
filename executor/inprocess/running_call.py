"""A call that has a slot of a batching engine."""

from __future__ import annotations

import time
from dataclasses import dataclass

from executor.draws import TextPosition
from executor.engine import CallReport, EngineCall, Listener
from executor.inprocess.guesses import Guesses
from staircase.messages import EndReason


@dataclass
class RunningCall:
    """A call in a slot; the keys and values of ``ids[:computed]`` are there."""

    call: EngineCall
    listener: Listener
    slot: int
    ids: list[int]
    computed: int
    started_ns: int
    cached_tokens: int
    guesses: Guesses
    busy_ns: int = 0
    passes: int = 0
    guessed_tokens: int = 0

    @property
    def missing(self) -> int:
        """Tokens to compute before the next one is known; 1 while it decodes."""
        return len(self.ids) - self.computed

    @property
    def written(self) -> int:
        return len(self.ids) - len(self.call.prompt_ids)

    def guess(self, most: int) -> list[int]:
        """At most ``most`` tokens; the last that it may write is of no use, as none follows."""
        return self.guesses.next(min(most, self.call.max_tokens - self.written - 1))

    def next_places(self, count: int) -> list[TextPosition]:
        """Where the next ``count`` tokens stand."""
        return [self.call.place_after(self.written + n) for n in range(count)]

    def end(self, reason: EndReason, error: str | None) -> None:
        now = time.perf_counter_ns()
        report = CallReport(
            reason,
            self.started_ns,
            now,
            self.busy_ns,
            self.cached_tokens,
            error,
            passes=self.passes,
            guessed_tokens=self.guessed_tokens,
        )
        self.listener.on_end(self.call.key, report)


def turn_away(call: EngineCall, listener: Listener, error: str | None = None) -> None:
    """Ends a call that never ran."""
    now = time.perf_counter_ns()
    listener.on_end(call.key, CallReport("cancelled", now, now, 0, 0, error))
