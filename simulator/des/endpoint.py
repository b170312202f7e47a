"""Endpoints, simulated: black boxes behind an API, of which only latency is known.

When a call starts, all its times are known: its tokens come at even distances. So nothing happens
between the counts that somebody watches, and the cost grows with these, not with tokens.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from simulator.des.due_calls import DueCalls
from simulator.des.rate_limits import RateLimits, counted_tokens
from simulator.engine import Key, SimulatedCall, SimulatedListener, first_number
from simulator.event_queue import ITERATION_BEGIN, ITERATION_END, Clock, ScheduledEvent
from staircase.errors import WorkloadError
from staircase.play import CallResult
from staircase.prompt import Prompt, common_prefix_tokens


@dataclass(frozen=True)
class EndpointSetup:
    """An endpoint and the limits of one's account there.

    Attributes:
        ttft_ps: from a call's start to its first token, with ``ttft_per_token_ps`` more for each
            prompt token, or ``ttft_per_cached_token_ps`` if that was cached.
        itl_ps: from a token to the next one, and from the last to a stop.
        spread: standard deviation of the logarithm of a factor on TTFT, drawn for each call.
        itl_spread: the same for ITL, with a draw of its own; None for ``spread``.
        concurrency: most calls at a time; others wait in the order in which they came.
        tokens_per_min: of prompts and ``max_tokens``.
        block_tokens: a cached prefix is whole blocks; OpenAI's are of 128 tokens from 1024 on
            (openai-cookbook, "Prompt Caching 201").
        min_cached_tokens: a shorter prefix is not cached.
    """

    ttft_ps: int
    itl_ps: int
    ttft_per_token_ps: int = 0
    ttft_per_cached_token_ps: int = 0
    spread: float = 0.0
    itl_spread: float | None = None
    seed: int = 0
    concurrency: int | None = None
    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    prefix_caching: bool = False
    block_tokens: int = 128
    min_cached_tokens: int = 1024

    def open(self, env: Clock, shared: dict[str, object]) -> EndpointEngine:
        return EndpointEngine(env, self, first_number(shared, 1))

    def latency_ps(self, call: SimulatedCall, cached_tokens: int) -> tuple[int, int]:
        """TTFT and ITL of a call, at least 1 ps each."""
        new_tokens = call.call.prompt.tokens - cached_tokens
        ttft_ps = self.ttft_ps + self.ttft_per_token_ps * new_tokens
        ttft_ps += self.ttft_per_cached_token_ps * cached_tokens
        of_ttft, of_itl = self._factors(call)
        return max(1, round(ttft_ps * of_ttft)), max(1, round(self.itl_ps * of_itl))

    def _factors(self, call: SimulatedCall) -> tuple[float, float]:
        """Lognormal with mean 1, drawn by who calls: neither when nor in which order matters."""
        itl_spread = self.spread if self.itl_spread is None else self.itl_spread
        if not self.spread and not itl_spread:
            return 1.0, 1.0
        # The step and not the call's number, which depends on the agents' race for it.
        words = [self.seed, call.request, call.call.step, *call.call.agent.encode()]
        one, two = np.random.default_rng(words).standard_normal(2)
        return _lognormal(self.spread, one), _lognormal(itl_spread, two)


def _lognormal(spread: float, normal: float) -> float:
    return math.exp(spread * normal - spread**2 / 2)


@dataclass(frozen=True)
class _Course:
    """How a call goes from its start on. An output is a token, or the end if that costs an ITL."""

    started_ps: int
    cached_tokens: int
    first_ps: int
    itl_ps: int
    outputs: int

    def time_of(self, output: int) -> int:
        """When so many outputs are there, from 1."""
        return self.first_ps + (output - 1) * self.itl_ps

    def outputs_by(self, until_ps: int) -> int:
        if until_ps < self.first_ps:
            return 0
        return min((until_ps - self.first_ps) // self.itl_ps + 1, self.outputs)


@dataclass(eq=False)
class _Served:
    """A call from its coming to its end; it waits while it has no course."""

    call: SimulatedCall
    listener: SimulatedListener
    number: int
    course: _Course | None = None
    watch: int | None = None

    def due_ps(self, course: _Course) -> int:
        """When somebody must be told next."""
        if self.watch is None:
            return course.time_of(course.outputs)
        return course.time_of(min(self.watch, course.outputs))


class EndpointEngine:
    """Starts calls in order, as the limits allow, and tells their listeners."""

    def __init__(self, env: Clock, setup: EndpointSetup, number: int) -> None:
        self._env = env
        self._setup = setup
        self._begin_priority = ITERATION_BEGIN + number
        self._limits = RateLimits(setup.requests_per_min, setup.tokens_per_min)
        self._cache = _PrefixCache(setup)
        self._served: dict[Key, _Served] = {}
        self._waiting: deque[_Served] = deque()
        self._running = 0
        self._came = 0
        self._due = DueCalls(env, ITERATION_END + number, self._tell)
        self._begin_event: ScheduledEvent | None = None

    def submit(self, call: SimulatedCall, listener: SimulatedListener) -> None:
        self._check(call)
        served = _Served(call, listener, self._came)
        self._came += 1
        self._served[call.key] = served
        self._waiting.append(served)
        self._begin_after(0)

    def _check(self, call: SimulatedCall) -> None:
        if self._setup.prefix_caching and call.parts:
            raise WorkloadError(
                f"engine {call.call.engine!r}: prefix_caching of an endpoint finds no prompts that "
                "requests share, as workload.prompts or a trace has them; give prefix_caching: "
                "false, or an engine of kind: simulated"
            )
        most, tokens = self._setup.tokens_per_min, counted_tokens(call.call)
        if most is not None and tokens > most:
            raise WorkloadError(
                f"a call of {call.call.agent!r} to engine {call.call.engine!r} counts {tokens} "
                f"tokens (prompt and max_tokens), which never fit its tokens_per_min of {most}"
            )

    def cancel(self, key: Key) -> None:
        """Ends a call at once; what it has written stays."""
        if key in self._served:
            self._end(self._served[key])

    def watch(self, key: Key, tokens: int) -> None:
        served = self._served[key]
        served.watch = tokens
        if served.course:
            self._expect(served, served.course)

    def tokens_of(self, key: Key) -> int:
        served = self._served[key]
        return min(self._outputs_of(served), served.call.goal_tokens)

    def close(self) -> None:
        """It holds nothing large."""

    def busy_ps(self) -> list[int]:
        return []

    @property
    def _now(self) -> int:
        return int(self._env.now)

    def _outputs_of(self, served: _Served) -> int:
        return served.course.outputs_by(self._due.until_ps) if served.course else 0

    # beginnings

    def _begin_after(self, delay_ps: int) -> None:
        """Looks who may start, after everything else that happens at that time."""
        if self._begin_event:
            self._begin_event.cancel()
        self._begin_event = ScheduledEvent(self._env, delay_ps, self._begin_priority, self._begin)

    def _begin(self) -> None:
        while self._waiting and self._has_room:
            wait_ps = self._limits.wait_ps(self._waiting[0].call.call, self._now)
            if wait_ps:
                self._begin_after(wait_ps)
                return
            self._start(self._waiting.popleft())

    @property
    def _has_room(self) -> bool:
        return self._setup.concurrency is None or self._running < self._setup.concurrency

    def _start(self, served: _Served) -> None:
        call, now = served.call, self._now
        self._limits.take(call.call, now)
        self._running += 1
        cached_tokens = self._cache.tokens_of(call)
        ttft_ps, itl_ps = self._setup.latency_ps(call, cached_tokens)
        served.course = _Course(now, cached_tokens, now + ttft_ps, itl_ps, call.outputs)
        self._expect(served, served.course)

    # what is due

    def _expect(self, served: _Served, course: _Course) -> None:
        self._due.expect(served.due_ps(course), served.number, served.call.key)

    def _tell(self, due_ps: int, key: Key) -> None:
        served = self._served.get(key)
        if served and served.course and served.due_ps(served.course) == due_ps:
            self._notify(served, served.course)

    def _notify(self, served: _Served, course: _Course) -> None:
        """A call reached its watched count, or ended."""
        key = served.call.key
        if served.watch is not None and self.tokens_of(key) >= served.watch:
            served.watch = None
            served.listener.on_watched(key, self._now)
        if self._outputs_of(served) == course.outputs:
            self._end(served)
        elif served.watch is None:
            self._expect(served, course)

    def _end(self, served: _Served) -> None:
        outputs = self._outputs_of(served)
        del self._served[served.call.key]
        if served.course is None:
            self._waiting.remove(served)
        else:
            self._running -= 1
            self._cache.remember(served.call, outputs)
        if self._waiting:
            self._begin_after(0)
        served.listener.on_end(served.call.key, _result(served, outputs, self._now))


def _result(served: _Served, outputs: int, now_ps: int) -> CallResult:
    """``busy_ps`` is all time from start to end: what the device did in it, nobody knows."""
    call, course = served.call, served.course
    if course is None:
        return CallResult("cancelled", now_ps, now_ps, 0, 0, token_ps=())
    return CallResult(
        call.reason_after(outputs),
        course.started_ps,
        now_ps,
        now_ps - course.started_ps,
        course.cached_tokens,
        token_ps=range(
            course.first_ps, course.time_of(min(outputs, call.goal_tokens) + 1), course.itl_ps
        ),
    )


class _PrefixCache:
    """Texts of calls that ended: of an agent's last one in a request, and its longest header."""

    def __init__(self, setup: EndpointSetup) -> None:
        self._setup = setup
        self._texts: dict[tuple[int, str], Prompt] = {}
        self._headers: dict[str, Prompt] = {}

    def tokens_of(self, call: SimulatedCall) -> int:
        """Prompt tokens that are cached; the last token of a prompt never is."""
        if not self._setup.prefix_caching:
            return 0
        agent, prompt = call.call.agent, call.call.prompt
        text = self._texts.get((call.request, agent), Prompt(()))
        header = self._headers.get(agent, Prompt(()))
        shared = max(
            common_prefix_tokens(text, prompt), common_prefix_tokens(header, prompt.header())
        )
        size = self._setup.block_tokens
        cached = min(shared, max(prompt.tokens - 1, 0)) // size * size
        return cached if cached >= self._setup.min_cached_tokens else 0

    def remember(self, simulated: SimulatedCall, outputs: int) -> None:
        """A call ended; each output after the first has put one own token through the model."""
        if not self._setup.prefix_caching or not outputs:
            return
        call = simulated.call
        self._texts[simulated.request, call.agent] = simulated.text(outputs - 1)
        headers = [self._headers.get(call.agent, Prompt(())), call.prompt.header()]
        self._headers[call.agent] = max(headers, key=lambda header: header.tokens)
