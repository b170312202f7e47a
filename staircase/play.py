"""One request being played: the books that the simulator and the executor keep alike.

A ``Play`` passes what an engine reports to the conductor and carries the conductor's commands to a
``Port``, which the simulator and the executor implement each for its own engines and clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from staircase.conductor import Conductor
from staircase.messages import (
    Call,
    CallEnded,
    CallFailed,
    CancelCall,
    Checked,
    Command,
    EndReason,
    Event,
    GiveUp,
    Item,
    Leave,
    Retract,
    Revised,
    SetTimer,
    StartCall,
    TimerRang,
    TokensThere,
    Watch,
)
from staircase.pipeline import Agent, Pipeline
from staircase.revisions.show_times import ShowTimes
from staircase.revisions.standing_text import numbers
from staircase.schedule import Schedule
from staircase.timeline import Span, Timeline
from staircase.votes import DISCARDED, NO_BALLOT, Ballot, Outcome, Vote


class Port(Protocol):
    """Where a play's commands go. Nothing here may call back into the play before it returns."""

    def submit(self, call: Call) -> None: ...

    def cancel(self, call: Call) -> None: ...

    def set_timer(self, timer: int, seconds: float) -> None: ...

    def watch(self, call: Call, tokens: int) -> None:
        """Somebody waits for the call's token of this number; an engine that reports every token
        by ``Play.on_token`` need not heed it, others answer with ``Play.on_watched``."""
        ...

    def tokens_of(self, call: Call) -> int | None:
        """Tokens that an open call has written by now; None if every one was reported."""
        ...

    def ballot(self, call: Call, vote: Vote) -> Ballot:
        """What the text of its agent says to ``vote``, if the text ended with this call."""
        ...


@dataclass(frozen=True)
class CallResult:
    """How an engine says that a call went.

    Attributes:
        token_ps: when each of its tokens was there; None if every one was reported.
        thinking_tokens: that it thought before; none of them is reported.
        thought_ps: when the first of them was there.
        added_tokens: of its prompt, beyond those of the call's, as tags of a thought are.
        passes, guessed_tokens, near_ties: as of a ``staircase.timeline.Span``.
    """

    reason: EndReason
    started_ps: int
    ended_ps: int
    busy_ps: int
    cached_tokens: int
    error: str | None = None
    token_ps: Sequence[int] | None = None
    remark: str | None = None
    thinking_tokens: int = 0
    thought_ps: int | None = None
    added_tokens: int = 0
    passes: int = 0
    guessed_tokens: int = 0
    near_ties: int = 0


@dataclass
class _OpenCall:
    call: Call
    submitted_ps: int
    token_ps: list[int] = field(default_factory=list)
    kept: int | None = None


class Play:
    """Plays one request.

    Attributes:
        written: tokens that each agent has written.
        calls: every call that was started, in order.
    """

    def __init__(
        self,
        number: int,
        pipeline: Pipeline,
        schedule: Schedule,
        fixed_tokens: Mapping[str, int],
        port: Port,
    ) -> None:
        self.number = number
        self.written = {agent.name: 0 for agent in pipeline}
        self.calls: list[Call] = []
        self._pipeline = pipeline
        self._answer = pipeline.answer
        self._inputs = {agent.name for agent in pipeline.inputs}
        self._port = port
        self._conductor = Conductor(pipeline, schedule, fixed_tokens)
        self._open: dict[int, _OpenCall] = {}
        self._ballots: dict[str, Ballot] = {}
        self._votes: dict[str, Outcome] = {}
        self._spans: list[Span] = []
        self._watches: dict[str, set[int]] = {}
        self._items: dict[str, list[Item]] = {one.name: [] for one in pipeline if one.items}
        self._shows_all = schedule.show == "at_once"
        self._shown = ShowTimes()
        self._thought_ps: int | None = None
        self._input_ps: int | None = None
        self._arrival_ps = 0
        self._completed_ps = 0
        self._error: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the answer is there (or given up)."""
        return self._conductor.is_done

    @property
    def is_over(self) -> bool:
        """Whether it is done and nothing of it runs any more."""
        return self._conductor.is_done and not self._open

    @property
    def open_calls(self) -> list[Call]:
        return [entry.call for entry in self._open.values()]

    def agent_of(self, number: int) -> str:
        """The agent that an open call belongs to."""
        return self._open[number].call.agent

    def begin(self, now_ps: int) -> None:
        self._arrival_ps = now_ps
        self._execute(self._conductor.start(), now_ps)

    def mark(self, agent: str, tokens: int) -> None:
        """After so many tokens of ``agent``'s text an item begins, as is seen at the next token.

        A simulation knows that beforehand; else it is told before that token.
        """
        seen = max(tokens, self._standing(agent)) + 1
        self._items[agent].append(Item(tokens, seen))
        self._await(agent, self._conductor.place(agent, seen))

    def unmark(self, agent: str, standing: int) -> None:
        """Items that were seen by more than its first ``standing`` tokens are none."""
        self._items[agent] = [one for one in self._items[agent] if one.seen <= standing]

    def on_token(self, number: int, now_ps: int) -> None:
        """A call wrote one more token."""
        entry = self._open[number]
        agent = entry.call.agent
        entry.token_ps.append(now_ps)
        self.written[agent] += 1
        watches = self._watches.get(agent)
        if watches and self.written[agent] in watches:
            watches.remove(self.written[agent])
            self._handle(TokensThere(agent), now_ps)

    def on_watched(self, number: int, now_ps: int) -> None:
        """A call reached a count that ``Port.watch`` named."""
        entry = self._open[number]
        self._catch_up()
        agent = entry.call.agent
        self._rewatch(entry.call)
        self._handle(TokensThere(agent), now_ps)

    def on_revised(self, number: int, standing: int, tokens: int, now_ps: int) -> None:
        """Of what stood when the call had written ``tokens``, only the first ``standing`` do now.

        What it has written and writes after those follows them.
        """
        call = self._open[number].call
        self._handle(Revised(call.agent, standing, call.written + tokens), now_ps)

    def on_checked(self, number: int, standing: int, now_ps: int) -> None:
        """Of the text that a call goes on with only the first ``standing`` tokens stand."""
        entry = self._open[number]
        call = entry.call
        entry.kept = standing - (call.standing - call.checked)
        self._handle(Checked(number, standing), now_ps)
        if call.agent == self._answer and call.settles:
            self._shown.show(standing, now_ps)

    def on_end(self, number: int, result: CallResult) -> None:
        """A call ended or failed."""
        entry = self._open.pop(number)
        if result.token_ps is not None:
            entry.token_ps = list(result.token_ps)
            self.written[entry.call.agent] = entry.call.written + len(entry.token_ps)
        if entry.call.agent == self._answer:
            self._shown.add(entry.token_ps, self._is_shown(entry.call))
            self._thought_ps = result.thought_ps if self._thought_ps is None else self._thought_ps
        if entry.call.agent in self._inputs and entry.token_ps:
            self._input_ps = max(self._input_ps or 0, entry.token_ps[-1])
        has_prompt = self._pipeline[entry.call.agent].has_engine
        self._spans.append(_close(entry, result, entry.call.prompt.tokens if has_prompt else 0))
        ballot = self._ballots[entry.call.agent] = self._ballot(entry.call, result)
        if result.error is None:
            self._handle(CallEnded(number, result.reason, ballot.answer), result.ended_ps)
        else:
            self._handle(CallFailed(number, result.error), result.ended_ps)

    def on_timer(self, timer: int, now_ps: int) -> None:
        self._handle(TimerRang(timer), now_ps)

    def leave(self, agent: str, now_ps: int) -> bool:
        """``agent`` writes no more; if it answers, the answer is complete as it is.

        Gives whether it would have gone on.
        """
        if self._conductor.has_ended(agent):
            return False
        self._handle(Leave(agent), now_ps)
        return True

    def timeline(self) -> Timeline:
        spans = sorted(self._spans, key=lambda span: span.call)
        return Timeline(
            self.number,
            self._arrival_ps,
            self._completed_ps,
            tuple(map(self._standing_span, spans) if self._conductor.has_revised else spans),
            tuple(self._shown.times_ps),
            {agent: self._standing(agent) for agent in self.written},
            self._error,
            self._thought_ps,
            self._input_ps,
            dict(self._votes),
            self._begun(),
            self._shown.retracted,
        )

    def pieces(self, agent: str, more: int = 0) -> list[tuple[int, int]]:
        """Which of the tokens that it has written, and of ``more`` that come, are its text: ranges
        of places, rising."""
        return self._conductor.pieces(agent, self.written[agent] + more)

    def _standing(self, agent: str) -> int:
        return sum(stop - start for start, stop in self.pieces(agent))

    def _standing_span(self, span: Span) -> Span:
        """As if nothing else had been written; the play knows by the call what stood before it."""
        found = numbers(self.pieces(span.agent), span.written, span.written + span.output_tokens)
        fell = span.output_tokens - sum(stop - start for start, stop in found)
        taken_back = span.checked_tokens - span.kept_tokens
        stood = self.calls[span.call].standing - taken_back
        return replace(span, written=stood, fallen_tokens=fell)

    def _handle(self, event: Event, now_ps: int) -> None:
        was_done = self._conductor.is_done
        self._catch_up()
        self._execute(self._conductor.handle(event, self.written, self._items), now_ps)
        if self._conductor.is_done and not was_done:
            self._completed_ps = now_ps
            self._shown.show(len(self._shown.times_ps), now_ps)
        if self._conductor.has_revised:
            self._await_items()

    def _await_items(self) -> None:
        """Where text fell, those that are known come later than it seemed."""
        for agent, items in self._items.items():
            there = self._standing(agent)
            seen = min((one.seen for one in items if one.seen > there), default=None)
            if seen is not None:
                self._await(agent, self._conductor.place(agent, seen))

    def _is_shown(self, call: Call) -> bool:
        """Whether what a call of the answer writes is shown as it is written."""
        return call.settles or self._shows_all

    @property
    def shown_tokens(self) -> int:
        """So many tokens of the answer are shown by now, if every token is reported."""
        writing = [one for one in self._open.values() if one.call.agent == self._answer]
        coming = (len(one.token_ps) for one in writing if self._is_shown(one.call))
        return self._shown.shown + sum(coming)

    def _begun(self) -> dict[str, list[int]]:
        """Tokens before each item that was seen."""
        return {
            agent: [one.before for one in items if one.seen <= self._standing(agent)]
            for agent, items in self._items.items()
        }

    def _execute(self, commands: list[Command], now_ps: int) -> None:
        for command in commands:
            match command:
                case StartCall(call):
                    self._open[call.number] = _OpenCall(call, now_ps)
                    self.calls.append(call)
                    self._note_vote(call)
                    self._port.submit(call)
                    self._rewatch(call)
                case CancelCall(number):
                    self._port.cancel(self._open[number].call)
                case Watch(agent, count):
                    self._await(agent, count)
                case Retract(agent, standing):
                    if agent == self._answer:
                        self._shown.retract(standing)
                case SetTimer(timer, seconds):
                    self._port.set_timer(timer, seconds)
                case GiveUp(error):
                    self._error = error

    def _ballot(self, call: Call, result: CallResult) -> Ballot:
        """Of a text of nothing, and of one that failed or was cut off, there is none."""
        vote, tokens = self._pipeline.vote_on(call.agent), self.written[call.agent]
        if vote is None or not tokens or result.error or result.reason == "cancelled":
            return NO_BALLOT
        return DISCARDED if vote.is_too_long(tokens) else self._port.ballot(call, vote)

    def _note_vote(self, call: Call) -> None:
        """What came of it, if ``call`` is a vote's."""
        agent = self._pipeline[call.agent]
        if agent.vote:
            counted = [one for one in agent.reads if one not in self._conductor.missed(call.agent)]
            begun = {one.agent for one in self.calls if self._pipeline[one.agent].has_engine}
            asked = begun.intersection(agent.reads)
            ballots = {name: self._ballots.get(name, NO_BALLOT) for name in counted}
            self._votes[call.agent] = Outcome.of(
                agent.reads, taken(agent, call), len(asked), ballots
            )

    def _catch_up(self) -> None:
        """Asks engines that do not report every token how far their calls are."""
        for entry in self._open.values():
            tokens = self._port.tokens_of(entry.call)
            if tokens is not None:
                self.written[entry.call.agent] = entry.call.written + tokens

    def _await(self, agent: str, count: int) -> None:
        self._watches.setdefault(agent, set()).add(count)
        for entry in self._open.values():
            if entry.call.agent == agent:
                self._rewatch(entry.call)

    def _rewatch(self, call: Call) -> None:
        """Tells the port the next count of this call that anybody waits for."""
        there = self.written[call.agent]
        counts = [count for count in self._watches.get(call.agent, ()) if count > there]
        if counts:
            self._port.watch(call, min(counts) - call.written)


def taken(agent: Agent, call: Call) -> str | None:
    """Of a vote's call: whose text it takes, if there is one."""
    return next((name for name, read in zip(agent.reads, call.read, strict=True) if read), None)


def _close(entry: _OpenCall, result: CallResult, prompt_tokens: int) -> Span:
    call = entry.call
    return Span(
        call.number,
        call.agent,
        call.engine,
        call.step,
        call.read,
        call.written,
        entry.submitted_ps,
        result.started_ps,
        entry.token_ps[0] if entry.token_ps else None,
        result.ended_ps,
        result.busy_ps,
        prompt_tokens + result.added_tokens,
        result.cached_tokens,
        len(entry.token_ps),
        result.error or result.reason,
        result.remark,
        result.thought_ps,
        result.thinking_tokens,
        checked_tokens=0 if entry.kept is None else call.checked,
        kept_tokens=entry.kept or 0,
        passes=result.passes,
        guessed_tokens=result.guessed_tokens,
        near_ties=result.near_ties,
    )
