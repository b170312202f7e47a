"""Plays schedules on simulated engines: a workload goes in, timelines come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import simpy

from simulator.core.integrity import check_over
from simulator.des.input import InputClock
from simulator.engine import EngineSetup, Key, SimulatedCall, SimulatedEngine, first_number
from simulator.event_queue import ARRIVAL, Clock, ScheduledEvent
from staircase.bounds import LAST_PS
from staircase.messages import Call
from staircase.pipeline import Agent, Arrival, Pipeline
from staircase.play import CallResult, Play, taken
from staircase.schedule import Schedule
from staircase.timeline import Timeline, to_ps
from staircase.votes import NO_BALLOT, Ballot, Vote
from staircase.workload import RequestShape, Workload, too_long

# How the text comes that was voted for.
AT_ONCE = Arrival()


@dataclass(frozen=True)
class Simulation:
    """What came of a workload.

    Attributes:
        busy_ps: by engine, of each replica; empty where nobody knows.
    """

    timelines: Sequence[Timeline]
    busy_ps: Mapping[str, Sequence[int]]


def simulate(
    pipeline: Pipeline,
    schedule: Schedule,
    engines: Mapping[str, EngineSetup],
    workload: Workload,
    on_call: Callable[[Call], None] = lambda call: None,
) -> list[Timeline]:
    """Timelines of all requests, in their order; ``on_call`` hears of every call that starts.

    Raises:
        WorkloadError: a request does not say how much some agent writes, or all together take too
            long.
    """
    return list(simulate_all(pipeline, schedule, engines, workload, on_call).timelines)


def simulate_all(
    pipeline: Pipeline,
    schedule: Schedule,
    engines: Mapping[str, EngineSetup],
    workload: Workload,
    on_call: Callable[[Call], None] = lambda call: None,
) -> Simulation:
    """The same, and how busy the engines were."""
    workload.check(pipeline)
    env = Clock()
    shared: dict[str, object] = {}
    served: dict[str, SimulatedEngine] = {
        one.name: InputClock(env, one.arrival or AT_ONCE, first_number(shared, 1))
        for one in pipeline
        if not one.has_engine
    }
    served |= {name: setup.open(env, shared) for name, setup in engines.items()}
    waiting = iter(enumerate(workload.requests))
    runs: list[_Run] = []

    def begin(number: int, request: RequestShape) -> _Run:
        run = _Run(env, number, pipeline, schedule, request, served, on_call)
        runs.append(run)
        run.play.begin(int(env.now))
        return run

    def work() -> Generator[simpy.Event, None, None]:
        for number, request in waiting:
            yield begin(number, request).over

    if workload.arrivals_ps is None:
        for _ in range(workload.at_once):
            env.process(work())
    else:
        for number, arrival_ps in enumerate(workload.arrivals_ps):
            arrive = partial(begin, number, workload.requests[number])
            ScheduledEvent(env, arrival_ps, ARRIVAL, arrive)
    while env.peek() <= LAST_PS:
        env.step()
    over = sum(run.play.is_over for run in runs)
    if over < len(workload.requests) and env.peek() < math.inf:
        raise too_long()
    check_over(over, len(workload.requests))
    lines = [run.play.timeline() for run in sorted(runs, key=lambda run: run.play.number)]
    busy_ps = {name: engine.busy_ps() for name, engine in served.items()}
    for engine in served.values():
        engine.close()
    return Simulation(lines, busy_ps)


@dataclass
class _Thought:
    """Of one open call: ``goal`` tokens, of which an engine that reports each has made some."""

    goal: int
    made: int = 0
    first_ps: int | None = None

    def takes(self, now_ps: int) -> bool:
        """Whether a token that was made is one of them."""
        if self.made == self.goal:
            return False
        self.first_ps = now_ps if self.first_ps is None else self.first_ps
        self.made += 1
        return True

    def told(self, result: CallResult) -> CallResult:
        """``result``, of all that was made, with its answer apart."""
        if result.token_ps is None:
            return replace(result, thinking_tokens=self.made, thought_ps=self.first_ps)
        thought = result.token_ps[: self.goal]
        return replace(
            result,
            token_ps=result.token_ps[self.goal :],
            thinking_tokens=len(thought),
            thought_ps=thought[0] if thought else None,
        )


class _Run:
    """One request on simulated engines: the port of its play, and the listener of its calls."""

    def __init__(
        self,
        env: Clock,
        number: int,
        pipeline: Pipeline,
        schedule: Schedule,
        request: RequestShape,
        engines: Mapping[str, SimulatedEngine],
        on_call: Callable[[Call], None],
    ) -> None:
        self._env = env
        self._on_call = on_call
        self._request = request
        self._engines = engines
        self._thoughts: dict[int, _Thought] = {}
        # Tokens that will stand, of calls whose first output is not there yet.
        self._unchecked: dict[int, int] = {}
        # Of their sources, by agent.
        self._read: dict[str, tuple[int, ...]] = {}
        # Of those whose only item follows from what they read: where it begins.
        self._item_starts: dict[str, int] = {}
        self._layout = schedule.layout
        self._pipeline = pipeline
        self._ballots = dict(request.ballots)
        self.over = env.event()
        self.play = Play(number, pipeline, schedule, request.fixed_tokens, self)
        for agent in pipeline:
            for tokens in request.items.get(agent.name, ()) if agent.items else ():
                self.play.mark(agent.name, tokens)

    def submit(self, call: Call) -> None:
        self._on_call(call)
        request, agent = self._request, self._pipeline[call.agent]
        self._note_item(agent, call)
        if agent.vote:
            winner = taken(agent, call)
            self._ballots[agent.name] = self._ballots[winner] if winner else NO_BALLOT
            left = call.prompt.tokens
        else:
            left = request.left_tokens(call)
        # Who goes on with a text has thought before.
        thinking = 0 if call.standing else request.thinking_tokens.get(call.agent, 0)
        self._thoughts[call.number] = _Thought(thinking)
        kept = request.kept_tokens(call, self._read.get(call.agent, ()), self._layout)
        self._read[call.agent] = call.read
        simulated = SimulatedCall(
            self.play.number,
            call,
            left,
            request.ends_with == "stop",
            thinking,
            request.parts,
            request.updates.get(call.agent, ()),
            call.checked - kept,
        )
        self._engines[call.engine].submit(simulated, self)
        if call.checked:
            self._unchecked[call.number] = call.standing - call.checked + kept
            self._engines[call.engine].watch((self.play.number, call.number), 1)

    def _note_item(self, agent: Agent, call: Call) -> None:
        """Where its only item follows from what it has read: as what it writes first on that."""
        before = self._request.read_before_item.get(agent.name)
        start = self._item_starts.get(agent.name, math.inf)
        if before is None or start < call.standing:
            return
        # It was not written yet, or fell.
        self.play.unmark(agent.name, call.standing)
        self._item_starts.pop(agent.name, None)
        places = map(agent.reads.index, agent.waits_for)
        if sum(call.read[place] for place in places) >= before:
            self._item_starts[agent.name] = call.standing
            self.play.mark(agent.name, call.standing)

    def cancel(self, call: Call) -> None:
        # At the same time, but after the play has finished what it is doing.
        self._after(0, lambda: self._engines[call.engine].cancel((self.play.number, call.number)))

    def set_timer(self, timer: int, seconds: float) -> None:
        self._after(to_ps(seconds), lambda: self.play.on_timer(timer, int(self._env.now)))

    def _after(self, delay_ps: int, errand: Callable[[], None]) -> None:
        event = self._env.timeout(delay_ps)
        event.callbacks.append(lambda _: errand())

    def watch(self, call: Call, tokens: int) -> None:
        thought = self._thoughts.get(call.number)
        # Until it is checked its first output is watched, after which comes whatever is later.
        if thought and call.number not in self._unchecked:
            made = thought.goal + tokens
            self._engines[call.engine].watch((self.play.number, call.number), made)

    def tokens_of(self, call: Call) -> int | None:
        thought = self._thoughts.get(call.number)
        if thought is None or call.number in self._unchecked:
            # It is about to end, or no token counts before those before it are checked.
            return 0
        made = self._engines[call.engine].tokens_of((self.play.number, call.number))
        return None if made is None else max(0, made - thought.goal)

    def ballot(self, call: Call, vote: Vote) -> Ballot:
        """Who took the text of another says what that one says."""
        return self._ballots[call.agent]

    def _check(self, number: int, now_ps: int) -> None:
        """Whatever a call puts out first comes of the pass that checks."""
        if number in self._unchecked:
            self.play.on_checked(number, self._unchecked.pop(number), now_ps)

    def on_watched(self, key: Key, now_ps: int) -> None:
        self._check(key[1], now_ps)
        self.play.on_watched(key[1], now_ps)

    def on_token(self, key: Key, now_ps: int) -> None:
        self._check(key[1], now_ps)
        if not self._thoughts[key[1]].takes(now_ps):
            self.play.on_token(key[1], now_ps)

    def on_revised(self, key: Key, standing: int, tokens: int, now_ps: int) -> None:
        self.play.on_revised(key[1], standing, tokens, now_ps)

    def on_end(self, key: Key, result: CallResult) -> None:
        told = self._thoughts.pop(key[1]).told(result)
        if result.token_ps or result.reason != "cancelled":
            self._check(key[1], result.ended_ps)
        self._unchecked.pop(key[1], None)
        self.play.on_end(key[1], told)
        if self.play.is_over and not self.over.triggered:
            self.over.succeed()
