"""One request on real engines: it carries out what its play commands and hears what engines say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from executor.engine import CallReport, Source, Thought, Wish
from executor.prompts.input_text import input_text
from executor.prompts.texts import Texts
from executor.text_check import TextCheck
from executor.tokens.item_starts import ItemStarts
from executor.tokens.rendering import Form, fixed_ids
from staircase.errors import ScheduleError
from staircase.messages import Call
from staircase.pipeline import Agent, Pipeline
from staircase.play import CallResult, Play
from staircase.prompt import nonce
from staircase.revisions.standing_text import Pieces
from staircase.revisions.updates import Update
from staircase.schedule import Schedule
from staircase.timeline import PS_PER_NS, Timeline, to_ps
from staircase.votes import Ballot, Vote
from staircase.workload import Question

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
        own: how it samples where a request says nothing of it, by the names of ``Wish.sampling``.
        settable: what a request may wish: names of ``Wish.sampling``, ``ignore_end``, and ``seed``
            (``Job.drawn_as``), which an engine that draws nothing need not have.
        checks_texts: what it wrote before costs it no decoding where it would write it again.
    """

    engine: Source
    form: Form
    has_nonces: bool = False
    thoughts: Mapping[str, Thought] = field(default_factory=dict)
    own: Mapping[str, float] = field(default_factory=dict)
    settable: frozenset[str] = frozenset()
    checks_texts: bool = True


@dataclass(frozen=True)
class Job:
    """One question to play through ``pipeline`` under ``schedule``.

    Attributes:
        drawn_as: jobs with the same number draw the same texts from the same prompts, where
            engines sample; None: the job's place in the run.
        wishes: how texts are written, by agent, of those of which something is wished.
    """

    pipeline: Pipeline
    schedule: Schedule
    question: Question
    drawn_as: int | None = None
    wishes: Mapping[str, Wish] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        ids: token ids of every text in the prompts, and of each agent's text.
        texts: of the agents.
        calls: as they were made.
        pieces: where in all that was written the tokens of a text are, by agent, of those of whose
            text not all stands.
        updates: how inputs came that replaced part of what they said, by name.
    """

    timeline: Timeline
    ids: Mapping[str, Sequence[int]]
    texts: Mapping[str, str]
    calls: Sequence[Call]
    pieces: Mapping[str, Pieces] = field(default_factory=dict)
    updates: Mapping[str, tuple[Update, ...]] = field(default_factory=dict)


class Faults:
    """What was raised in the threads of engines and timers.

    Args:
        changed: told of each, for a caller who waits.
        on_fault: hears each, for one who does not.
    """

    def __init__(
        self,
        changed: threading.Condition,
        on_fault: Callable[[Exception], None] = lambda fault: None,
    ) -> None:
        self.changed = changed
        self.found: list[Exception] = []
        self._on_fault = on_fault

    @contextmanager
    def delivered(self) -> Iterator[None]:
        try:
            yield
        except Exception as fault:  # the caller gets it
            with self.changed:
                self.found.append(fault)
                self.changed.notify_all()
            self._on_fault(fault)


class RequestRun:
    """One job on real engines: the port of its play, and the listener of its calls.

    Args:
        epoch_ns: 0 of its timeline, on the clock ``now_ns``.
        on_over: called once, when the answer is there and nothing of it runs any more; in the
            thread that had the last of it.
    """

    def __init__(
        self,
        number: int,
        job: Job,
        served: Mapping[str, ServedModel],
        fixed: Mapping[str, list[int]],
        faults: Faults,
        now_ns: Clock,
        epoch_ns: int,
        on_token: OnToken,
        on_over: Callable[[], None] = lambda: None,
    ) -> None:
        if job.schedule.checks:
            _check_readers(job.pipeline, served)
        self._on_token = on_token
        self._on_over = on_over
        self._is_told = False
        self._is_revised = False
        self._checks: dict[int, TextCheck] = {}
        self._holds_back = job.pipeline.answer if job.schedule.checks else None
        self._served = served
        self._faults = faults
        self._changed = faults.changed
        self._now_ns = now_ns
        self._epoch_ns = epoch_ns
        self._timers: list[threading.Timer] = []
        self._is_abandoned = False
        # Those that an engine has; the play may open others that none gets any more.
        self._submitted: set[int] = set()
        self._engines = {agent.name: served[agent.engine].engine for agent in job.pipeline}
        drawn_as = number if job.drawn_as is None else job.drawn_as
        inputs = {
            one.name: input_text(self._engines[one.name], job.question, one.name)
            for one in job.pipeline.inputs
        }
        self._right = job.question.reference
        self._texts = Texts(self._engines, fixed, drawn_as, job.wishes, inputs)
        self._items = {
            agent.name: ItemStarts(agent.items, self._engines[agent.name].decode)
            for agent in job.pipeline
            if agent.items
        }
        fixed_tokens = {name: len(ids) for name, ids in fixed.items()}
        self.play = Play(number, job.pipeline, job.schedule, fixed_tokens, self)

    def begin(self, arrival_s: float | None) -> None:
        """``arrival_s`` is counted from the runtime's start; None for now."""
        with self._changed:
            self.play.begin(self._now_ps() if arrival_s is None else to_ps(arrival_s))

    def leave(self, agent: str) -> bool:
        """What ``agent`` has written is its text; if it answers, the request is over with it.

        Gives whether the agent would have gone on.
        """
        with self._changed:
            has_left = not self.play.is_done and self.play.leave(agent, self._now_ps())
        self._tell_if_over()
        return has_left

    def _tell_if_over(self) -> None:
        """Not under the lock, as whoever hears it may take long."""
        with self._changed:
            if self._is_told or not self.play.is_over:
                return
            self._is_told = True
        for timer in self._timers:
            timer.cancel()
        self._on_over()

    def ids_of(self, agent: str) -> list[int]:
        """What ``agent`` has written and stands now, as far as it is shown."""
        with self._changed:
            return list(self._told(agent))

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
        own = {agent: self._standing(agent) for agent in self._engines}
        texts = {agent: self._text(agent) for agent in own}
        inputs = self._texts.inputs.items()
        updates = {name: one.shape for name, one in inputs if one.updates}
        pieces = {agent: self.play.pieces(agent) for agent in own if self._has_fallen(agent)}
        ids = {**self._texts.ids, **own}
        return Outcome(self.play.timeline(), ids, texts, self.play.calls, pieces, updates)

    def _text(self, agent: str) -> str:
        return self._engines[agent].decode(self._standing(agent))

    def _has_fallen(self, agent: str) -> bool:
        """Whether some of what it wrote is not its text any more."""
        return len(self._standing(agent)) < len(self._texts.ids[agent])

    def _standing(self, agent: str) -> list[int]:
        """Its text, in token ids."""
        return self._texts.standing(agent, self.play.pieces(agent))

    # commands of the play

    def submit(self, call: Call) -> None:
        if self._is_abandoned:
            return
        self._submitted.add(call.number)
        served = self._served[call.engine]
        so_far, thought = self._standing(call.agent), served.thoughts.get(call.agent)
        request = self._texts.request(self._key(call.number), call, so_far, thought)
        if call.checked:
            self._is_revised = True
            self._checks[call.number] = TextCheck(request.written, request.guess)
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

    def ballot(self, call: Call, vote: Vote) -> Ballot:
        return vote.ballot(self._text(call.agent), self._right)

    def _ring(self, timer: int) -> None:
        with self._faults.delivered(), self._changed:
            if not self.play.is_over:
                self.play.on_timer(timer, self._now_ps())
            self._changed.notify_all()

    # reports of engines

    def on_token(self, key: tuple[int, int], token: int, time_ns: int) -> None:
        with self._faults.delivered():
            with self._changed:
                agent = self.play.agent_of(key[1])
                if not self._is_alike(key[1], token, self._ps(time_ns)):
                    self._texts.ids[agent].append(token)
                    self._mark_items(agent)
                    self.play.on_token(key[1], self._ps(time_ns))
            if not self._is_abandoned:
                self._on_token(self.play.number, agent, self._told(agent))

    def _told(self, agent: str) -> Sequence[int]:
        """Of what an agent has written, what whoever listens hears of."""
        if not self._is_revised and agent != self._holds_back:
            return self._texts.ids[agent]
        ids = self._standing(agent)
        return ids[: self.play.shown_tokens] if agent == self._holds_back else ids

    def _is_alike(self, number: int, token: int, now_ps: int) -> bool:
        """Whether ``token`` is what the text that the call checks has there anyway."""
        check = self._checks.get(number)
        if check is None or check.is_told:
            return False
        is_alike = check.takes(token)
        if check.is_over or not is_alike:
            self._end_check(number, now_ps)
        return is_alike

    def _end_check(self, number: int, now_ps: int) -> None:
        check = self._checks[number]
        check.is_told = True
        self.play.on_checked(number, check.standing, now_ps)

    def on_revised(self, key: tuple[int, int], standing: int, time_ns: int) -> None:
        with self._faults.delivered():
            with self._changed:
                agent = self.play.agent_of(key[1])
                before = {name: len(self._told(name)) for name in self._engines}
                self._is_revised = True
                tokens = len(self._texts.ids[agent])
                self.play.on_revised(key[1], standing, tokens, self._ps(time_ns))
                now = {name: self._told(name) for name in self._engines}
            # Nobody may write for a while what would tell of it.
            for name, ids in now.items():
                if len(ids) < before[name] and not self._is_abandoned:
                    self._on_token(self.play.number, name, ids)

    def _mark_items(self, agent: str) -> None:
        """Of a text whose last token the play is not told of yet."""
        ids = self._texts.ids[agent] if agent in self._items else []
        if ids and self._is_revised:
            pieces = self.play.pieces(agent, more=1)
            is_text = bool(pieces) and pieces[-1][1] == len(ids)
            ids = self._texts.standing(agent, pieces) if is_text else []
        if not ids:
            return
        starts, before = self._items[agent], ids[:-1]
        if starts.tokens > len(before):
            starts.cut(before)
            self.play.unmark(agent, len(before))
        for tokens in starts.update(ids):
            self.play.mark(agent, tokens)

    def on_end(self, key: tuple[int, int], report: CallReport) -> None:
        check = self._checks.get(key[1])
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
            passes=report.passes,
            # Servers may count less than what came as it was.
            guessed_tokens=max(0, report.guessed_tokens - (check.alike if check else 0)),
            near_ties=report.near_ties,
        )
        with self._faults.delivered(), self._changed:
            self._submitted.discard(key[1])
            if check and not check.is_told and report.reason != "cancelled":
                # The text would have ended there.
                self._end_check(key[1], result.ended_ps)
            self.play.on_end(key[1], result)
            if self.play.is_over or self._is_abandoned:
                self._changed.notify_all()
        with self._faults.delivered():
            self._tell_if_over()

    def _key(self, number: int) -> tuple[int, int]:
        return self.play.number, number

    def _now_ps(self) -> int:
        return self._ps(self._now_ns())

    def _ps(self, time_ns: int) -> int:
        return (time_ns - self._epoch_ns) * PS_PER_NS


def _check_readers(pipeline: Pipeline, served: Mapping[str, ServedModel]) -> None:
    """Raises ScheduleError unless what they write can be checked."""
    for agent in pipeline.readers:
        model = served[agent.engine]
        thought = model.thoughts.get(agent.name)
        # That of a chat server of which the scenario says nothing is there to be read over.
        if thought and (thought.budget or thought.is_forced):
            raise ScheduleError(
                f"checked: {agent.name!r} thinks before it answers, so what it wrote on less "
                "cannot be checked; leave it out"
            )
        if not model.checks_texts:
            raise ScheduleError(
                f"checked: engine {agent.engine!r} would write again what it is to check, as do "
                "models whose cache cannot be cut, and servers without "
                f"engines.{agent.engine}.guesses; leave it out, or say how its server checks"
            )


def fixed_ids_of(
    job: Job, served: Mapping[str, ServedModel], nonce_text: str
) -> dict[str, list[int]]:
    """Every fixed text, in the ids of the engine that reads it."""
    ids: dict[str, list[int]] = {}
    for agent in job.pipeline:
        reader = served[agent.engine]
        query = job.question.query_for(agent.name, agent.template)
        if reader.has_nonces and _opens_a_turn(agent, reader):
            query = nonce_text + query
        elif reader.has_nonces:
            ids[nonce(agent.template)] = reader.engine.encode(nonce_text)
        ids |= fixed_ids(agent, query, reader.form, reader.engine, job.question.earlier)
    return ids


def _opens_a_turn(agent: Agent, reader: ServedModel) -> bool:
    """Whether what follows the header still belongs to a chat template's own words."""
    return not agent.reads and reader.form.of(agent).query[:1].isspace()
