"""An endpoint simulated token by token: slow and obvious.

It says again in plain Python what ``simulator/des/endpoint.py`` does in closed form, and must give
the same integer time for every token. Only the factors of ``spread`` are taken from there.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from simulator.des.endpoint import EndpointSetup
from simulator.engine import Key, SimulatedCall, SimulatedListener
from simulator.event_queue import ITERATION_BEGIN, ITERATION_END, Clock, ScheduledEvent
from staircase.play import CallResult

MINUTE_PS = 60 * 10**12


class OracleBucket:
    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.stock = Fraction(capacity or 0)
        self.at_ps = 0

    def refill(self, now: int) -> None:
        assert self.capacity is not None
        came = Fraction(self.capacity * (now - self.at_ps), MINUTE_PS)
        self.stock, self.at_ps = min(Fraction(self.capacity), self.stock + came), now

    def wait(self, amount: int, now: int) -> int:
        if self.capacity is None:
            return 0
        self.refill(now)
        lacks = max(Fraction(0), amount - self.stock)
        return math.ceil(lacks * MINUTE_PS / self.capacity)

    def take(self, amount: int, now: int) -> None:
        if self.capacity is not None:
            self.refill(now)
            self.stock -= amount


@dataclass(eq=False)
class Talk:
    call: SimulatedCall
    listener: SimulatedListener
    outputs: int
    started_ps: int = 0
    next_ps: int = 0
    itl_ps: int = 0
    cached: int = 0
    done: int = 0
    watch: int = -1
    times_ps: list[int] = field(default_factory=list)

    def text(self) -> list[tuple[str, int]]:
        """Every token that went through the model."""
        call = self.call.call
        tokens = prompt_tokens(self.call)
        return tokens + [(call.agent, call.written + n) for n in range(self.done - 1)]


def prompt_tokens(call: SimulatedCall) -> list[tuple[str, int]]:
    segments = call.call.prompt.segments
    return [(source, place) for source, start, stop in segments for place in range(start, stop)]


def shared(one: list[tuple[str, int]], other: list[tuple[str, int]]) -> int:
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


class OracleEndpoint:
    def __init__(self, env: Clock, setup: EndpointSetup, number: int, seen: Counter[str]) -> None:
        self.env, self.setup, self.number, self.seen = env, setup, number, seen
        self.requests = OracleBucket(setup.requests_per_min)
        self.tokens = OracleBucket(setup.tokens_per_min)
        self.talks: dict[Key, Talk] = {}
        self.waiting: list[Talk] = []
        self.running: list[Talk] = []
        self.over: list[Talk] = []

    def submit(self, call: SimulatedCall, listener: SimulatedListener) -> None:
        ends_apart = call.ends_early and (call.ends_with_stop or call.goal_tokens == 0)
        talk = Talk(call, listener, call.goal_tokens + int(ends_apart))
        self.talks[call.key] = talk
        self.waiting.append(talk)
        self.begin_after(0)

    def begin_after(self, delay_ps: int) -> None:
        ScheduledEvent(self.env, delay_ps, ITERATION_BEGIN + self.number, self.begin)

    def begin(self) -> None:
        now = int(self.env.now)
        while self.waiting:
            if self.setup.concurrency is not None and len(self.running) == self.setup.concurrency:
                self.seen["waits for a seat"] += 1
                return
            call = self.waiting[0].call.call
            amount = call.prompt.tokens + call.max_tokens
            wait = max(self.requests.wait(1, now), self.tokens.wait(amount, now))
            if wait:
                self.seen["waits for a bucket"] += 1
                self.begin_after(wait)
                return
            self.requests.take(1, now)
            self.tokens.take(amount, now)
            self.start(self.waiting.pop(0))

    def start(self, talk: Talk) -> None:
        now = int(self.env.now)
        talk.cached = self.cached(talk.call) if self.setup.prefix_caching else 0
        self.seen["cached tokens"] += talk.cached
        ttft_ps, talk.itl_ps = self.setup.latency_ps(talk.call, talk.cached)
        talk.started_ps, talk.next_ps = now, now + ttft_ps
        self.running.append(talk)
        self.tick_at(talk.next_ps)

    def cached(self, call: SimulatedCall) -> int:
        prompt = prompt_tokens(call)
        header = [token for token in prompt if token[0].startswith("header/")]
        counts = [0]
        for past in self.over:
            if past.done and past.call.call.agent == call.call.agent:
                counts.append(shared(past.text()[: len(prompt_tokens(past.call))], header))
                if past.call.request == call.request:
                    counts[0] = shared(past.text(), prompt)
        count = min(max(counts), len(prompt) - 1)
        count -= count % self.setup.block_tokens
        return count if count >= self.setup.min_cached_tokens else 0

    def tick_at(self, time_ps: int) -> None:
        delay = time_ps - int(self.env.now)
        ScheduledEvent(self.env, delay, ITERATION_END + self.number, self.tick)

    def tick(self) -> None:
        now = int(self.env.now)
        named = [talk for talk in self.running if talk.next_ps == now]
        for talk in named:
            talk.done += 1
            if talk.done <= talk.call.goal_tokens:
                talk.times_ps.append(now)
            talk.next_ps += talk.itl_ps
            if talk.done < talk.outputs:
                self.tick_at(talk.next_ps)
        for talk in named:
            if talk.done == talk.watch:
                talk.listener.on_watched(talk.call.key, now)
            if talk.done == talk.outputs:
                self.end(talk)

    def end(self, talk: Talk) -> None:
        (self.running if talk in self.running else self.waiting).remove(talk)
        self.over.append(talk)
        self.begin_after(0)
        now = int(self.env.now)
        reason = "stop" if talk.call.ends_early else "length"
        if talk.done < talk.outputs:
            reason = "cancelled"
            self.seen["cancelled"] += 1
        started = talk.started_ps if talk.itl_ps else now
        result = CallResult(
            reason,  # type: ignore[arg-type]
            started,
            now,
            now - started,
            talk.cached,
            token_ps=talk.times_ps,
        )
        talk.listener.on_end(talk.call.key, result)

    def cancel(self, key: Key) -> None:
        if self.talks[key] not in self.over:
            self.end(self.talks[key])

    def watch(self, key: Key, tokens: int) -> None:
        self.talks[key].watch = tokens

    def close(self) -> None:
        """It holds nothing large."""

    def busy_ps(self) -> list[int]:
        return []

    def tokens_of(self, key: Key) -> int | None:
        return len(self.talks[key].times_ps)


@dataclass(frozen=True)
class OracleEndpointSetup:
    """The same endpoint as ``setup``, the slow way; ``seen`` counts what happened in it."""

    setup: EndpointSetup
    seen: Counter[str] = field(default_factory=Counter)

    def open(self, env: Clock, shared: dict[str, object]) -> OracleEndpoint:
        number = shared.setdefault("replicas", 0)
        assert isinstance(number, int)
        shared["replicas"] = number + 1
        return OracleEndpoint(env, self.setup, number, self.seen)
