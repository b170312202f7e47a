"""Plays schedules on real engines.

Events are handled in the thread of the engine that reports them, one at a time under one lock, so a
command reaches the engine before its next iteration. The caller's thread only waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from executor.engine import CallReport, Engine, Thought
from executor.nonces import Nonces
from executor.prompts.texts import Texts
from executor.tokens.rendering import Form, fixed_ids
from staircase.messages import Call
from staircase.pipeline import Agent, Pipeline
from staircase.play import CallResult, Play
from staircase.prompt import nonce
from staircase.schedule import Schedule
from staircase.timeline import PS_PER_NS, Timeline, to_ps
from staircase.workload import Question

ABANDON_S = 30.0

# Nanoseconds.
Clock = Callable[[], int]
# Hears the number of the job, the agent, and all token ids that it has written so far.
OnToken = Callable[[int, str, Sequence[int]], None]


@dataclass(frozen=True)
class ServedModel:
    """An engine and how prompts for it are written.

    Attributes:
        has_nonces: a text of each request's own follows the header, so that the engine's prefix
            cache has nothing else for it that other requests left.
        thoughts: how agents think before they answer, by name, of those that do.
    """

    engine: Engine
    form: Form
    has_nonces: bool = False
    thoughts: Mapping[str, Thought] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One question to play through ``pipeline`` under ``schedule``.

    Attributes:
        drawn_as: jobs with the same number draw the same texts from the same prompts, where
            engines sample; None: the job's place in the run.
    """

    pipeline: Pipeline
    schedule: Schedule
    question: Question
    drawn_as: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        ids: token ids of every text in the prompts, and of what each agent wrote.
        texts: what each agent wrote.
    """

    timeline: Timeline
    ids: Mapping[str, Sequence[int]]
    texts: Mapping[str, str]
    calls: Sequence[Call]


class Runtime:
    """Runs jobs on engines, ``concurrency`` at a time.

    Attributes:
        served: by engine name.
        now_ns: the clock of the engines.
        retries: how often a failed call is started again, where its schedule does not say more.
    """

    def __init__(
        self,
        served: Mapping[str, ServedModel],
        now_ns: Clock = time.perf_counter_ns,
        retries: int = 0,
    ) -> None:
        self.served = served
        self.retries = retries
        self.now_ns = now_ns
        self._nonces = Nonces()
        self._changed = threading.Condition(threading.RLock())

    def serving(self, served: Mapping[str, ServedModel]) -> Runtime:
        """The same with other engines."""
        other = Runtime(served, self.now_ns, self.retries)
        other._nonces = self._nonces
        return other

    def run(
        self,
        jobs: Sequence[Job],
        concurrency: int = 1,
        on_done: Callable[[Outcome], None] = lambda outcome: None,
        *,
        arrivals_s: Sequence[float] | None = None,
        skipped: Collection[int] = (),
        passed_s: float = 0.0,
        on_token: OnToken = lambda job, agent, ids: None,
    ) -> list[Outcome]:
        """Plays jobs and returns their outcomes in the order of ``jobs``.

        Args:
            arrivals_s: when each job arrives, rising; what it waits for one of the ``concurrency``
                places counts as its time. None: a job arrives when there is a place.
            skipped: places of jobs that are not played, as they were before the run was cut off.
            passed_s: of the run before it was cut off.
            on_token: called in the thread of the engine that wrote, so it should be quick.

        Raises:
            Exception: whatever ``on_token`` or ``on_done`` raised; what still ran is cancelled.
        """
        jobs = [self._retrying(job) for job in jobs]
        left = [number for number in range(len(jobs)) if number not in skipped]
        arrivals = deque(arrivals_s[number] for number in left) if arrivals_s else deque[float]()
        epoch_ns, faults = self.now_ns() - round(passed_s * 1e9), _Faults(self._changed)
        waiting = deque(
            _Run(
                number,
                jobs[number],
                self.served,
                _fixed_ids(jobs[number], self.served, self._nonces.draw()),
                faults,
                self.now_ns,
                epoch_ns,
                on_token,
            )
            for number in left
        )
        live: list[_Run] = []
        done: dict[int, Outcome] = {}
        try:
            while waiting or live:
                while waiting and len(live) < concurrency and self._until(arrivals, epoch_ns) <= 0:
                    live.append(waiting.popleft())
                    live[-1].begin(arrivals.popleft() if arrivals else None)
                is_full = not waiting or len(live) == concurrency
                for run in self._wait_for_any(
                    live, faults, None if is_full else self._until(arrivals, epoch_ns)
                ):
                    live.remove(run)
                    done[run.play.number] = run.outcome()
                    on_done(done[run.play.number])
        finally:
            self._abandon(live)
        return [done[number] for number in sorted(done)]

    def _retrying(self, job: Job) -> Job:
        retries = max(job.schedule.retries, self.retries)
        return replace(job, schedule=replace(job.schedule, retries=retries))

    def _until(self, arrivals: deque[float], epoch_ns: int) -> float:
        """Seconds until the next arrival; 0 without arrivals."""
        return arrivals[0] - (self.now_ns() - epoch_ns) / 1e9 if arrivals else 0.0

    def _wait_for_any(
        self, live: list[_Run], faults: _Faults, timeout_s: float | None
    ) -> list[_Run]:
        """Those that are over; none if ``timeout_s`` passes before. Raises the first fault."""
        with self._changed:
            self._changed.wait_for(
                lambda: faults.found or any(run.play.is_over for run in live), timeout_s
            )
            if faults.found:
                raise faults.found[0]
            return [run for run in live if run.play.is_over]

    def _abandon(self, live: list[_Run]) -> None:
        """After an interrupt: cancels what still runs, and waits until nothing does."""
        with self._changed:
            for run in live:
                run.cancel_all()
            self._changed.wait_for(
                lambda: not any(run.is_served for run in live), timeout=ABANDON_S
            )


class _Faults:
    """What was raised in the threads of engines and timers, for the caller, who waits."""

    def __init__(self, changed: threading.Condition) -> None:
        self.changed = changed
        self.found: list[Exception] = []

    @contextmanager
    def delivered(self) -> Iterator[None]:
        try:
            yield
        except Exception as fault:  # the caller, who waits, gets it
            with self.changed:
                self.found.append(fault)
                self.changed.notify_all()


class _Run:
    """One job on real engines: the port of its play, and the listener of its calls."""

    def __init__(
        self,
        number: int,
        job: Job,
        served: Mapping[str, ServedModel],
        fixed: Mapping[str, list[int]],
        faults: _Faults,
        now_ns: Clock,
        epoch_ns: int,
        on_token: OnToken,
    ) -> None:
        self._on_token = on_token
        self._served = served
        self._faults = faults
        self._changed = faults.changed
        self._now_ns = now_ns
        self._epoch_ns = epoch_ns
        self._timers: list[threading.Timer] = []
        self._is_abandoned = False
        # Those that an engine has; the play may open others that none gets any more.
        self._submitted: set[int] = set()
        engines = {agent.name: served[agent.engine].engine for agent in job.pipeline}
        self._texts = Texts(engines, fixed, number if job.drawn_as is None else job.drawn_as)
        fixed_tokens = {name: len(ids) for name, ids in fixed.items()}
        self.play = Play(number, job.pipeline, job.schedule, fixed_tokens, self)

    def begin(self, arrival_s: float | None) -> None:
        """``arrival_s`` is counted from the runtime's start; None for now."""
        with self._changed:
            self.play.begin(self._now_ps() if arrival_s is None else to_ps(arrival_s))

    @property
    def is_served(self) -> bool:
        """Whether an engine still has a call of it."""
        return bool(self._submitted)

    def cancel_all(self) -> None:
        self._is_abandoned = True
        for timer in self._timers:
            timer.cancel()
        for call in self.play.open_calls:
            self.cancel(call)

    def outcome(self) -> Outcome:
        for timer in self._timers:
            timer.cancel()
        texts = self._texts
        return Outcome(self.play.timeline(), texts.ids, texts.written(), self.play.calls)

    # commands of the play

    def submit(self, call: Call) -> None:
        if self._is_abandoned:
            return
        self._submitted.add(call.number)
        served = self._served[call.engine]
        request = self._texts.request(self._key(call.number), call, served.thoughts.get(call.agent))
        served.engine.submit(request, self)

    def cancel(self, call: Call) -> None:
        self._served[call.engine].engine.cancel(self._key(call.number))

    def set_timer(self, timer: int, seconds: float) -> None:
        clock = threading.Timer(seconds, self._ring, (timer,))
        clock.daemon = True
        self._timers.append(clock)
        clock.start()

    def watch(self, call: Call, tokens: int) -> None:
        """Every token is reported anyway."""

    def tokens_of(self, call: Call) -> int | None:
        return None

    def _ring(self, timer: int) -> None:
        with self._faults.delivered(), self._changed:
            self.play.on_timer(timer, self._now_ps())
            self._changed.notify_all()

    # reports of engines

    def on_token(self, key: tuple[int, int], token: int, time_ns: int) -> None:
        with self._faults.delivered():
            with self._changed:
                agent = self.play.agent_of(key[1])
                self._texts.ids[agent].append(token)
                self.play.on_token(key[1], self._ps(time_ns))
            if not self._is_abandoned:
                self._on_token(self.play.number, agent, self._texts.ids[agent])

    def on_end(self, key: tuple[int, int], report: CallReport) -> None:
        result = CallResult(
            report.reason,
            self._ps(report.started_ns),
            self._ps(report.ended_ns),
            report.busy_ns * PS_PER_NS,
            report.cached_tokens,
            report.error,
            remark=report.remark,
            thinking_tokens=report.thinking_tokens,
            thought_ps=None if report.thought_ns is None else self._ps(report.thought_ns),
            added_tokens=report.added_tokens,
        )
        with self._faults.delivered(), self._changed:
            self._submitted.discard(key[1])
            self.play.on_end(key[1], result)
            if self.play.is_over or self._is_abandoned:
                self._changed.notify_all()

    def _key(self, number: int) -> tuple[int, int]:
        return self.play.number, number

    def _now_ps(self) -> int:
        return self._ps(self._now_ns())

    def _ps(self, time_ns: int) -> int:
        return (time_ns - self._epoch_ns) * PS_PER_NS


def _fixed_ids(
    job: Job, served: Mapping[str, ServedModel], nonce_text: str
) -> dict[str, list[int]]:
    """Every fixed text, in the ids of the engine that reads it."""
    ids: dict[str, list[int]] = {}
    for agent in job.pipeline:
        reader = served[agent.engine]
        query = job.question.query_for(agent.name)
        if reader.has_nonces and _opens_a_turn(agent, reader):
            query = nonce_text + query
        elif reader.has_nonces:
            ids[nonce(agent.name)] = reader.engine.encode(nonce_text)
        ids |= fixed_ids(agent, query, reader.form, reader.engine)
    return ids


def _opens_a_turn(agent: Agent, reader: ServedModel) -> bool:
    """Whether what follows the header still belongs to a chat template's own words."""
    return not agent.reads and reader.form.of(agent).query[:1].isspace()
