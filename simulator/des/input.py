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
from staircase.revisions.updates import Coming, in_turn
from staircase.timeline import to_ps


@dataclass(eq=False)
class _Coming:
    """An input of one request.

    Attributes:
        token_ps: when each of its tokens is there, rising.
        revisions: that are still to come, the first one last: when, and what is told of them.
        ends_ps: from when on all of it is there; of an input of nothing, before it began.
    """

    call: SimulatedCall
    listener: SimulatedListener
    number: int
    started_ps: int
    token_ps: list[int]
    revisions: list[tuple[int, Coming]]
    ends_ps: int
    watch: int | None = None

    @property
    def due_ps(self) -> int:
        """When somebody must be told next."""
        due_ps = self.revisions[-1][0] if self.revisions else max(self.ends_ps, self.started_ps)
        if self.watch is None or self.watch > len(self.token_ps):
            return due_ps
        return min(due_ps, self.token_ps[self.watch - 1])


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
        coming = self._coming_of(call, listener)
        self._came += 1
        self._coming[call.key] = coming
        self._expect(coming)

    def _coming_of(self, call: SimulatedCall, listener: SimulatedListener) -> _Coming:
        now = self._now
        if not call.updates:
            times = arrival_ps(self._arrival, call.goal_tokens, now)
            ends_ps = times[-1] if times else now - 1
            return _Coming(call, listener, self._came, now, times, [], ends_ps)
        due = [(_due_ps(now, one.update.seconds), one) for one in in_turn(call.updates)]
        times = [due_ps for due_ps, one in due for _ in range(one.update.tokens)]
        revisions = [(due_ps, one) for due_ps, one in reversed(due) if one.replaces]
        return _Coming(call, listener, self._came, now, times, revisions, due[-1][0])

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
        """Part of it is replaced, its watched count is there, or all of it."""
        key = coming.call.key
        while coming.revisions and coming.revisions[-1][0] <= self._now:
            one = coming.revisions.pop()[1]
            coming.listener.on_revised(key, one.update.standing, one.before, self._now)
            if key not in self._coming:
                return
        if coming.watch is not None and self.tokens_of(key) >= coming.watch:
            coming.watch = None
            coming.listener.on_watched(key, self._now)
        if coming.ends_ps <= self._due.until_ps:
            self._end(coming)
        else:
            self._expect(coming)

    def _end(self, coming: _Coming) -> None:
        call, there = coming.call, coming.token_ps[: self.tokens_of(coming.call.key)]
        del self._coming[call.key]
        ended: EndReason = "stop" if call.ends_early else "length"
        reason = ended if coming.ends_ps <= self._due.until_ps else "cancelled"
        result = CallResult(reason, coming.started_ps, self._now, 0, 0, token_ps=there)
        coming.listener.on_end(call.key, result)


def arrival_ps(arrival: Arrival, tokens: int, began_ps: int) -> list[int]:
    """When each token of an input is there whose request came at ``began_ps``: after that."""
    return [
        _due_ps(began_ps, arrival.seconds(arrival.last_of_segment(token, tokens)))
        for token in range(1, tokens + 1)
    ]


def _due_ps(began_ps: int, seconds: float) -> int:
    """After its request came, if only just."""
    return began_ps + max(1, to_ps(seconds))
