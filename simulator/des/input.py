"""Inputs, simulated: what comes on a clock, whoever reads it.

All times are known when a request comes, so nothing happens between the counts that somebody
watches, and the cost grows with these, not with tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from simulator.des.due_calls import DueCalls
from simulator.engine import Key, SimulatedCall, SimulatedListener
from simulator.event_queue import ITERATION_END, Clock
from staircase.messages import EndReason
from staircase.pipeline import Arrival
from staircase.play import CallResult
from staircase.timeline import to_ps


@dataclass(eq=False)
class _Coming:
    """An input of one request.

    Attributes:
        token_ps: when each of its tokens is there, rising.
    """

    call: SimulatedCall
    listener: SimulatedListener
    number: int
    started_ps: int
    token_ps: list[int]
    watch: int | None = None

    @property
    def due_ps(self) -> int:
        """When somebody must be told next."""
        if self.watch is None or self.watch > len(self.token_ps):
            return self.token_ps[-1] if self.token_ps else self.started_ps
        return self.token_ps[self.watch - 1]


class InputClock:
    """Brings the inputs of all requests, as ``arrival`` says.

    Args:
        number: of all that happen at the same time, those with lower numbers happen first.
    """

    def __init__(self, env: Clock, arrival: Arrival, number: int) -> None:
        self._env = env
        self._arrival = arrival
        self._coming: dict[Key, _Coming] = {}
        self._came = 0
        self._due = DueCalls(env, ITERATION_END + number, self._tell)

    def submit(self, call: SimulatedCall, listener: SimulatedListener) -> None:
        times = arrival_ps(self._arrival, call.goal_tokens, self._now)
        coming = _Coming(call, listener, self._came, self._now, times)
        self._came += 1
        self._coming[call.key] = coming
        self._expect(coming)

    def cancel(self, key: Key) -> None:
        """Nobody listens any more."""
        if key in self._coming:
            self._end(self._coming[key])

    def watch(self, key: Key, tokens: int) -> None:
        self._coming[key].watch = tokens
        self._expect(self._coming[key])

    def tokens_of(self, key: Key) -> int:
        return bisect_right(self._coming[key].token_ps, self._due.until_ps)

    def busy_ps(self) -> list[int]:
        return []

    def close(self) -> None:
        """It holds nothing large."""

    @property
    def _now(self) -> int:
        return int(self._env.now)

    def _expect(self, coming: _Coming) -> None:
        self._due.expect(coming.due_ps, coming.number, coming.call.key)

    def _tell(self, due_ps: int, key: Key) -> None:
        coming = self._coming.get(key)
        if coming and coming.due_ps == due_ps:
            self._notify(coming)

    def _notify(self, coming: _Coming) -> None:
        """Its watched count is there, or all of it."""
        key = coming.call.key
        if coming.watch is not None and self.tokens_of(key) >= coming.watch:
            coming.watch = None
            coming.listener.on_watched(key, self._now)
        if self.tokens_of(key) == len(coming.token_ps):
            self._end(coming)
        elif coming.watch is None:
            self._expect(coming)

    def _end(self, coming: _Coming) -> None:
        call, there = coming.call, coming.token_ps[: self.tokens_of(coming.call.key)]
        del self._coming[call.key]
        ended: EndReason = "stop" if call.ends_early else "length"
        reason = ended if len(there) == len(coming.token_ps) else "cancelled"
        result = CallResult(reason, coming.started_ps, self._now, 0, 0, token_ps=there)
        coming.listener.on_end(call.key, result)


def arrival_ps(arrival: Arrival, tokens: int, began_ps: int) -> list[int]:
    """When each token of an input is there whose request came at ``began_ps``: after that."""
    return [
        began_ps + max(1, to_ps(arrival.seconds(arrival.last_of_segment(token, tokens))))
        for token in range(1, tokens + 1)
    ]
