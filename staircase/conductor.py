"""The conductor: what a schedule means, written once.

A pure state machine. Events go in (tokens are there, a call ended or failed, a timer rang) and
commands come out (start this call, watch that agent, cancel, set a timer, the answer is complete).
It knows no clock, no I/O and no model: the simulator plays it in simulated time, the executor in
real time, so what is forecast is what is run.

Whoever plays a conductor promises: ``start`` once; then ``handle`` for every event, with the
number of tokens that each agent has written by then; ``TokensThere`` at the latest when a watched
count is reached; one ``CallEnded`` or ``CallFailed`` for every call started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from staircase.messages import (
    Call,
    CallEnded,
    CallFailed,
    CancelCall,
    Command,
    Complete,
    EndReason,
    Event,
    GiveUp,
    SetTimer,
    StartCall,
    TimerRang,
    Watch,
)
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import Drawing, Round
from staircase.schedule import READ_ALL, Schedule, Staircase, Step


@dataclass
class _Desk:
    """What one agent is doing."""

    agent: Agent
    staircase: Staircase
    drawing: Drawing
    state: Literal["waiting", "writing", "ended"] = "waiting"
    step: int = 0
    rounds: list[Round] = field(default_factory=list)
    call: Call | None = None
    starting_tokens: int = 0
    is_cancelled: bool = False
    has_stopped: bool = False
    failures: int = 0
    watched: set[int] = field(default_factory=set)
    graced: set[int] = field(default_factory=set)
    rang: set[int] = field(default_factory=set)
    late: set[str] = field(default_factory=set)

    @property
    def awaited(self) -> Step:
        return self.staircase.step(self.step)

    @property
    def is_reading(self) -> bool:
        """Whether it may still want more of its sources."""
        return self.state == "waiting" or (self.call is not None and not self.call.is_last)


class Conductor:
    """Plays ``schedule`` on ``pipeline`` for one request.

    Args:
        fixed_tokens: length of each prompt text that does not grow, by the names of
            ``staircase.prompt``.

    Raises:
        ScheduleError: a staircase is for an agent that reads nobody.
    """

    def __init__(
        self, pipeline: Pipeline, schedule: Schedule, fixed_tokens: Mapping[str, int] | None = None
    ) -> None:
        schedule.check(pipeline)
        self._pipeline = pipeline
        self._schedule = schedule
        self._fixed_tokens = fixed_tokens or {}
        self._desks = {
            agent.name: _Desk(
                agent,
                schedule.staircases.get(agent.name, Staircase()),
                Drawing(agent.name, agent.reads, schedule.layout, self._fixed_tokens),
            )
            for agent in pipeline.order
        }
        self._running: dict[int, _Desk] = {}
        self._call_count = 0
        self._timer_count = 0
        self._timers: dict[int, tuple[_Desk, int]] = {}
        self._written: Mapping[str, int] = {}
        self.is_done = False

    def start(self) -> list[Command]:
        """The commands that begin the request."""
        self._written = dict.fromkeys(self._desks, 0)
        for name in self._schedule.without:
            self._desks[name].state = "ended"
        return list(self._advance_all())

    def handle(self, event: Event, written: Mapping[str, int]) -> list[Command]:
        """The commands that answer ``event``, when agents have ``written`` so many tokens."""
        self._written = written
        commands = list(self._take(event))
        if not self.is_done:
            commands += self._advance_all()
        return commands

    @property
    def running(self) -> list[int]:
        """Numbers of the calls that have neither ended nor failed."""
        return list(self._running)

    # events

    def _take(self, event: Event) -> Iterator[Command]:
        if isinstance(event, CallEnded) and event.call in self._running:
            yield from self._end_call(self._running.pop(event.call), event.reason)
        elif isinstance(event, CallFailed) and event.call in self._running:
            yield from self._fail_call(self._running.pop(event.call), event.error)
        elif isinstance(event, TimerRang) and event.timer in self._timers:
            desk, step = self._timers.pop(event.timer)
            desk.rang.add(step)

    def _end_call(self, desk: _Desk, reason: EndReason) -> Iterator[Command]:
        call, desk.call = desk.call, None
        assert call is not None
        if self._goes_on(desk, call, reason):
            desk.state, desk.step = "waiting", desk.step + 1
            desk.has_stopped = reason == "stop"
        else:
            yield from self._end_agent(desk)

    def _goes_on(self, desk: _Desk, call: Call, reason: EndReason) -> bool:
        if call.is_last or self.is_done or not self._is_needed(desk):
            return False
        if reason == "stop":
            return self._schedule.early_end == "continue"
        return self._room(desk) > 0

    def _fail_call(self, desk: _Desk, error: str) -> Iterator[Command]:
        call, desk.call = desk.call, None
        assert call is not None
        desk.failures += 1
        limit = self._limit(desk, call.is_last)
        if limit == 0:
            desk.call = call
            yield from self._end_call(desk, "length")
        elif desk.failures <= self._schedule.retries and self._is_needed(desk):
            yield self._start_call(desk, limit, call.is_last)
        elif desk.agent.name == self._pipeline.answer and not self.is_done:
            self.is_done = True
            desk.state = "ended"
            yield GiveUp(error)
            yield from self._cancel_needless()
        else:
            yield from self._end_agent(desk)

    def _end_agent(self, desk: _Desk) -> Iterator[Command]:
        desk.state = "ended"
        if desk.agent.name == self._pipeline.answer and not self.is_done:
            self.is_done = True
            yield Complete()
        yield from self._cancel_needless()

    def _cancel_needless(self) -> Iterator[Command]:
        """Ends every agent whose text nobody will read, readers before their sources."""
        for agent in reversed(self._pipeline.order):
            desk = self._desks[agent.name]
            if desk.state == "ended" or self._is_needed(desk):
                continue
            if desk.call is None:
                desk.state = "ended"
            elif not desk.is_cancelled:
                desk.is_cancelled = True
                yield CancelCall(desk.call.number)

    def _is_needed(self, desk: _Desk) -> bool:
        if desk.agent.name == self._pipeline.answer:
            return not self.is_done
        readers = self._pipeline.readers_of(desk.agent.name)
        return any(self._desks[reader.name].is_reading for reader in readers)

    # steps

    def _advance_all(self) -> Iterator[Command]:
        for desk in self._desks.values():
            if desk.state == "waiting":
                yield from self._advance_waiting(desk)
            elif self._schedule.is_timed and desk.call and not desk.call.is_last:
                yield from self._advance_writing(desk, desk.call)

    def _advance_waiting(self, desk: _Desk) -> Iterator[Command]:
        while desk.has_stopped and self._says_nothing_new(desk) and self._is_whole(desk):
            desk.step += 1
        step = desk.awaited
        if desk.has_stopped and self._says_nothing_new(desk):
            yield from self._watch_anything_new(desk)
            return
        yield from self._watch(desk, desk.step, step)
        yield from self._set_grace(desk, desk.step, step)
        if self._is_open(desk, desk.step, step):
            yield from self._start_step(desk, step)

    def _advance_writing(self, desk: _Desk, call: Call) -> Iterator[Command]:
        """While it writes: the next step's grace period may begin, or the next step itself."""
        number = desk.step + 1
        step = desk.staircase.step(number)
        yield from self._watch(desk, number, step)
        yield from self._set_grace(desk, number, step)
        if self._schedule.starve == "write" and not desk.is_cancelled:
            write = desk.awaited.write
            has_written = self._written[desk.agent.name] - desk.starting_tokens
            if write is not None and has_written >= write and self._is_open(desk, number, step):
                desk.is_cancelled = True
                yield CancelCall(call.number)

    def _says_nothing_new(self, desk: _Desk) -> bool:
        """Whether an agent that thought it was done would read just what it has read."""
        step = desk.awaited
        if step.read is None or self._has_read_all(desk, step.read):
            return False
        return self._read(desk, step).read == desk.rounds[-1].read

    def _is_whole(self, desk: _Desk) -> bool:
        return all(self._is_there(source, desk.awaited) for source in desk.agent.reads)

    def _watch_anything_new(self, desk: _Desk) -> Iterator[Command]:
        for source in desk.agent.reads:
            if self._desks[source].state != "ended":
                yield Watch(source, self._written[source] + 1)

    def _watch(self, desk: _Desk, number: int, step: Step) -> Iterator[Command]:
        if number in desk.watched or step.read is None:
            return
        desk.watched.add(number)
        for source in desk.agent.reads:
            if not self._is_there(source, step):
                yield Watch(source, step.read)

    def _is_there(self, source: str, step: Step) -> bool:
        if self._desks[source].state == "ended":
            return True
        return step.read is not None and self._written[source] >= step.read

    def _set_grace(self, desk: _Desk, number: int, step: Step) -> Iterator[Command]:
        barrier = self._schedule.barrier
        if barrier.kind != "grace" or number in desk.graced:
            return
        there = sum(self._is_there(source, step) for source in desk.agent.reads)
        if barrier.quorum(len(desk.agent.reads)) <= there < len(desk.agent.reads):
            timer = self._timer_count
            self._timer_count += 1
            desk.graced.add(number)
            self._timers[timer] = (desk, number)
            yield SetTimer(timer, barrier.grace_s or 0.0)

    def _is_open(self, desk: _Desk, number: int, step: Step) -> bool:
        """Whether the barrier lets the step start."""
        absent = [name for name in desk.agent.reads if not self._is_there(name, step)]
        if not absent:
            return True
        barrier, sources = self._schedule.barrier, len(desk.agent.reads)
        if sources - len(absent) < barrier.quorum(sources):
            return False
        if barrier.kind == "quorum":
            return True
        return number in desk.rang or all(name in desk.late for name in absent)

    def _start_step(self, desk: _Desk, step: Step) -> Iterator[Command]:
        absent = {name for name in desk.agent.reads if not self._is_there(name, step)}
        desk.late = absent
        desk.rounds.append(self._read(desk, step))
        is_last = step.read is None or self._has_read_all(desk, step.read)
        desk.failures = 0
        yield self._start_call(desk, self._limit(desk, is_last), is_last)
        if is_last:
            yield from self._cancel_needless()
        elif self._schedule.starve == "write" and step.write is not None:
            yield Watch(desk.agent.name, desk.starting_tokens + step.write)

    def _read(self, desk: _Desk, step: Step) -> Round:
        """What the step shows: never less than was shown before."""
        shown = desk.rounds[-1].read if desk.rounds else (0,) * len(desk.agent.reads)
        there = [self._written[source] for source in desk.agent.reads]
        if self._schedule.reading == "exact" and step.read is not None:
            there = [min(count, step.read) for count in there]
        read = tuple(max(pair) for pair in zip(shown, there, strict=True))
        return Round(read, self._written[desk.agent.name])

    def _has_read_all(self, desk: _Desk, level: int) -> bool:
        """Whether every source ended before ``level``.

        One that ended just there does not count: whether its end is known when its last token is
        depends on the clock, and what a schedule means must not.
        """
        return all(
            self._desks[source].state == "ended" and self._written[source] < level
            for source in desk.agent.reads
        )

    def _limit(self, desk: _Desk, is_last: bool) -> int:
        """Most tokens that the next call may write."""
        step = READ_ALL if is_last else desk.awaited
        if step.write is None or self._schedule.starve == "write":
            return self._room(desk)
        already = self._written[desk.agent.name] - desk.rounds[-1].written
        return min(step.write - already, self._room(desk))

    def _room(self, desk: _Desk) -> int:
        return desk.agent.max_tokens - self._written[desk.agent.name]

    def _start_call(self, desk: _Desk, max_tokens: int, is_last: bool) -> StartCall:
        agent, written = desk.agent, self._written[desk.agent.name]
        prompt = desk.drawing.prompt(desk.rounds, written)
        call = Call(
            number=self._call_count,
            agent=agent.name,
            engine=agent.engine,
            step=desk.step,
            read=desk.rounds[-1].read,
            written=written,
            prompt=prompt,
            max_tokens=max_tokens,
            is_last=is_last,
        )
        self._call_count += 1
        desk.call, desk.state, desk.starting_tokens = call, "writing", written
        desk.is_cancelled = False
        self._running[call.number] = desk
        return StartCall(call)
