"""Inputs simulated segment by segment: slow and obvious.

It says again what ``simulator/des/input.py`` does by arithmetic, and must give the same integer
time for every token.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.engine import Key, SimulatedCall, SimulatedListener
from simulator.event_queue import ITERATION_END, Clock, ScheduledEvent
from staircase.pipeline import Arrival
from staircase.play import CallResult
from staircase.revisions.updates import Update


@dataclass(eq=False)
class Typing:
    call: SimulatedCall
    listener: SimulatedListener
    started_ps: int
    next_ps: int
    whole: int
    watch: int = -1
    times_ps: list[int] = field(default_factory=list)
    stand: int = 0
    left: list[Update] = field(default_factory=list)


class OracleInput:
    def __init__(self, env: Clock, arrival: Arrival, number: int) -> None:
        self.env, self.arrival, self.number = env, arrival, number
        self.typing: dict[Key, Typing] = {}

    def submit(self, call: SimulatedCall, listener: SimulatedListener) -> None:
        whole = min(call.left_tokens, call.call.max_tokens)
        now = int(self.env.now)
        typing = Typing(call, listener, now, now, whole, left=list(call.updates))
        self.typing[call.key] = typing
        self.expect(typing)

    def expect(self, typing: Typing) -> None:
        """The next segment, or an input of nothing."""
        rate = self.arrival.tokens_per_s
        count = min(len(typing.times_ps) + self.segment(typing), typing.whole)
        typing.next_ps = typing.started_ps + (
            round(count / rate * 10**12) if rate else min(1, typing.whole)
        )
        if typing.left:
            typing.next_ps = typing.started_ps + max(1, round(typing.left[0].seconds * 10**12))
        delay = typing.next_ps - int(self.env.now)
        ScheduledEvent(self.env, delay, ITERATION_END + self.number, self.tick)

    def segment(self, typing: Typing) -> int:
        return self.arrival.segment_tokens if self.arrival.tokens_per_s else typing.whole

    def tick(self) -> None:
        now = int(self.env.now)
        named = [one for one in self.typing.values() if one.next_ps == now]
        revised = {typing.call.key: self.come(typing, now) for typing in named}
        for typing in named:
            for standing, before in revised[typing.call.key]:
                if typing.call.key in self.typing:
                    typing.listener.on_revised(typing.call.key, standing, before, now)
            if typing.call.key not in self.typing:
                continue
            if 0 <= typing.watch <= len(typing.times_ps):
                typing.watch = -1
                typing.listener.on_watched(typing.call.key, now)
            if self.is_whole(typing) and typing.call.key in self.typing:
                self.end(typing)

    def come(self, typing: Typing, now: int) -> list[tuple[int, int]]:
        """What is due; gives what was replaced: how much stood, of how many tokens in all."""
        revised = []
        if not typing.call.updates:
            left = typing.whole - len(typing.times_ps)
            typing.times_ps += [now] * min(self.segment(typing), left)
        while typing.left and typing.started_ps + typing.left[0].seconds * 10**12 < now + 0.5:
            _, standing, tokens = typing.left.pop(0)
            if standing < typing.stand:
                revised.append((standing, len(typing.times_ps)))
            typing.stand = standing + tokens
            typing.times_ps += [now] * tokens
        if not self.is_whole(typing):
            self.expect(typing)
        return revised

    def is_whole(self, typing: Typing) -> bool:
        return len(typing.times_ps) == typing.whole and not typing.left

    def end(self, typing: Typing) -> None:
        del self.typing[typing.call.key]
        call, now = typing.call, int(self.env.now)
        whole = "stop" if call.left_tokens < call.call.max_tokens else "length"
        reason = whole if self.is_whole(typing) else "cancelled"
        result = CallResult(
            reason,  # type: ignore[arg-type]
            typing.started_ps,
            now,
            0,
            0,
            token_ps=typing.times_ps,
        )
        typing.listener.on_end(call.key, result)

    def cancel(self, key: Key) -> None:
        if key in self.typing:
            self.end(self.typing[key])

    def watch(self, key: Key, tokens: int) -> None:
        self.typing[key].watch = tokens

    def tokens_of(self, key: Key) -> int:
        return len(self.typing[key].times_ps)

    def busy_ps(self) -> list[int]:
        return []

    def close(self) -> None:
        """It holds nothing large."""
