"""The conductor: what a schedule means, written once.

A pure state machine. Events go in (tokens are there, a call ended or failed, a timer rang, an agent
writes no more, its text was revised) and commands come out (start this call, watch that agent,
cancel, set a timer, the answer is complete). It knows no clock, no I/O and no model: the simulator
plays it in simulated time, the executor in real time, so what is forecast is what is run.

Texts may be revised: an input replaces what it said, and then whoever read it goes back to where it
had not. In here "written" and "read" count tokens that stand (``staircase.revisions``).

Whoever plays a conductor promises: ``start`` once; then ``handle`` for every event, with the
number of tokens that each agent has written by then, in all, and what is known of the items of its
text; ``TokensThere`` at the latest when a watched count is reached or an item is seen; one
``CallEnded`` or ``CallFailed`` for every call started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from staircase.conducting.agent_state import AgentState
from staircase.conducting.sources import Sources
from staircase.messages import (
    Call,
    CallEnded,
    CallFailed,
    CancelCall,
    Checked,
    Command,
    Complete,
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
    Watch,
)
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import Drawing
from staircase.revisions.standing_text import StandingText
from staircase.schedule import READ_ALL, Schedule, Staircase, Step

NO_ITEMS: Mapping[str, Sequence[Item]] = {}


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
        self._texts: dict[str, StandingText] = {}
        self._states = {
            agent.name: AgentState(
                agent, schedule.staircases.get(agent.name, Staircase()), self._drawing(agent)
            )
            for agent in pipeline.order
        }
        # A vote that is decided comes before those whom nobody needs then.
        self._in_turn = sorted(self._states.values(), key=lambda state: state.agent.vote is None)
        self._running: dict[int, AgentState] = {}
        self._call_count = 0
        self._timer_count = 0
        self._timers: dict[int, tuple[AgentState, int]] = {}
        self._sources = Sources(schedule, self._states, self._texts)
        self.is_done = False

    def _drawing(self, agent: Agent) -> Drawing:
        layout = self._schedule.layout
        fixed, texts = self._fixed_tokens, self._texts
        skipped = self._schedule.skipped(self._pipeline, agent)
        return Drawing(agent.name, agent.reads, layout, fixed, texts, agent.template, skipped)

    def start(self) -> list[Command]:
        """The commands that begin the request."""
        self._sources.written = dict.fromkeys(self._states, 0)
        for name in self._schedule.without:
            self._states[name].phase = "ended"
        return list(self._advance_all())

    def handle(
        self,
        event: Event,
        written: Mapping[str, int],
        items: Mapping[str, Sequence[Item]] = NO_ITEMS,
    ) -> list[Command]:
        """The commands that answer ``event``, when agents have ``written`` so many tokens.

        Args:
            items: of an agent's text, those that are known, in order.
        """
        self._sources.written, self._sources.items = written, items
        commands = list(self._take(event))
        if not self.is_done:
            commands += self._advance_all()
        return commands

    @property
    def running(self) -> list[int]:
        """Numbers of the calls that have neither ended nor failed."""
        return list(self._running)

    def has_ended(self, agent: str) -> bool:
        """Whether it writes no more, or will not once its call has ended."""
        return self._states[agent].has_ended

    def place(self, agent: str, count: int) -> int:
        """Tokens that it will have written when ``count`` stand, if nothing more falls."""
        text = self._texts.get(agent)
        return text.place(count) if text else count

    @property
    def has_revised(self) -> bool:
        """Whether some token of a text fell."""
        return bool(self._texts)

    def pieces(self, agent: str, written: int) -> list[tuple[int, int]]:
        """Which of the tokens that it has ``written`` stand: ranges of places, rising."""
        text = self._texts.get(agent, StandingText())
        return list(text.pieces(0, text.count(written)))

    def missed(self, agent: str) -> set[str]:
        """Of those that it waits for, who was not there when its last step began."""
        return self._states[agent].late

    # events

    def _take(self, event: Event) -> Iterator[Command]:
        if isinstance(event, CallEnded) and event.call in self._running:
            state = self._running.pop(event.call)
            state.ballot = event.ballot
            yield from self._end_call(state, event.reason)
        elif isinstance(event, CallFailed) and event.call in self._running:
            yield from self._fail_call(self._running.pop(event.call), event.error)
        elif isinstance(event, TimerRang) and event.timer in self._timers:
            state, step = self._timers.pop(event.timer)
            state.rang.add(step)
        elif isinstance(event, Leave):
            yield from self._leave(self._states[event.agent])
        elif isinstance(event, Revised) and not self.is_done:
            self._texts.setdefault(event.agent, StandingText())
            self._texts[event.agent].cut(event.standing, event.written, event.written)
            yield from self._revise_readers(event.agent, event.standing)
        elif isinstance(event, Checked) and event.call in self._running:
            yield from self._settle(self._running[event.call], event.standing)

    def _leave(self, state: AgentState) -> Iterator[Command]:
        """An agent that writes ends when its call does."""
        state.is_left = True
        if state.phase == "waiting":
            yield from self._end_agent(state)
        elif state.call is not None and not state.is_cancelled:
            state.is_cancelled = True
            yield CancelCall(state.call.number)

    def _end_call(self, state: AgentState, reason: EndReason) -> Iterator[Command]:
        call, state.call = state.call, None
        assert call is not None
        if self._goes_back(state):
            yield from self._go_back(state)
        elif self._goes_on(state, call, reason):
            state.phase, state.step = "waiting", state.step + 1
            # Of a text that is full, too, there is nothing to do before something new is there.
            state.has_stopped = reason == "stop" or self._room(state) == 0
        else:
            yield from self._end_agent(state)

    def _goes_on(self, state: AgentState, call: Call, reason: EndReason) -> bool:
        if call.is_last or state.is_left or self.is_done or not self._is_needed(state):
            return False
        if not state.settles:
            return True
        may_read_on = reason != "stop" or self._schedule.early_end == "continue"
        return may_read_on and self._room(state) > 0

    def _fail_call(self, state: AgentState, error: str) -> Iterator[Command]:
        call, state.call = state.call, None
        assert call is not None
        state.failures += 1
        limit = self._limit(state, call.is_last)
        is_written = limit == 0 and (state.settles or not call.settles)
        if is_written or state.is_left or state.goes_back_to is not None:
            state.call = call
            yield from self._end_call(state, "length")
        elif state.failures <= self._schedule.retries and self._is_needed(state):
            yield self._start_call(state, limit, call.is_last)
        elif state.agent.name == self._pipeline.answer and not self.is_done:
            self.is_done = True
            state.phase = "ended"
            yield GiveUp(error)
            yield from self._cancel_needless()
        else:
            yield from self._end_agent(state)

    def _end_agent(self, state: AgentState) -> Iterator[Command]:
        state.phase = "ended"
        if state.agent.name == self._pipeline.answer and not self.is_done:
            self.is_done = True
            yield Complete()
        yield from self._cancel_needless()

    def _cancel_needless(self) -> Iterator[Command]:
        """Ends every agent whose text nobody will read, readers before their sources."""
        for agent in reversed(self._pipeline.order):
            state = self._states[agent.name]
            if state.phase == "ended" or self._is_needed(state):
                continue
            if state.call is None:
                state.phase = "ended"
            elif not state.is_cancelled:
                state.is_cancelled = True
                yield CancelCall(state.call.number)

    def _is_needed(self, state: AgentState, asking: tuple[str, ...] = ()) -> bool:
        """Whether somebody may still read it. Where there are peers it must be somebody who is
        needed without it: two who only read each other are not. ``asking`` are being looked at.
        """
        name = state.agent.name
        if name == self._pipeline.answer:
            return not self.is_done
        readers = (self._states[reader.name] for reader in self._pipeline.readers_of(name))
        return any(
            reader.wants(state.agent)
            and reader.agent.name not in asking
            and (not self._pipeline.has_peers or self._is_needed(reader, (*asking, name)))
            for reader in readers
        )

    # revisions

    def _revise_readers(self, source: str, standing: int) -> Iterator[Command]:
        """Whoever was shown more of ``source`` than the ``standing`` tokens of it goes back."""
        for reader in self._pipeline.readers_of(source):
            state = self._states[reader.name]
            # What it waits for comes later than it seemed.
            state.watched.clear()
            fresh = self._sources.rounds_within(state, source, standing)
            if fresh < len(state.rounds) and not state.is_left:
                yield from self._send_back(state, fresh, source, standing)

    def _send_back(
        self, state: AgentState, fresh: int, source: str, standing: int
    ) -> Iterator[Command]:
        """To the step after ``fresh`` rounds, for only ``standing`` tokens of ``source`` stand. Its
        own text stands as far as it was written before that, or all of it."""
        is_rewritten = self._schedule.revision == "rewrite" and not self._schedule.checks
        # What started on an item that fell has nothing to keep.
        is_rewritten |= state.agent.starts_by(source)
        if state.phase == "ended" and not (is_rewritten and self._is_needed(state)):
            return
        state.is_sent_back_to(state.shown_in[fresh])
        if is_rewritten:
            written = state.rounds[fresh].written
            state.forget_rounds(fresh)
            yield from self._retract(state, written)
        else:
            state.cut_rounds(source, standing)
        if state.call is None and self._goes_back(state):
            yield from self._go_back(state)
        elif state.call and not state.is_cancelled:
            state.is_cancelled = True
            yield CancelCall(state.call.number)

    def _retract(self, state: AgentState, standing: int) -> Iterator[Command]:
        """What it still writes falls with the rest."""
        name, has_ended = state.agent.name, state.phase == "ended"
        falls = self._sources.tokens(name) > standing or state.call is not None
        if falls:
            self._texts.setdefault(name, StandingText()).cut(
                standing, self._sources.written[name], None
            )
        if has_ended and self._goes_back(state):
            # An end that was none, to whoever started by it.
            state.phase = "waiting"
        if falls or has_ended:
            yield from self._revise_readers(name, standing)

    def _goes_back(self, state: AgentState) -> bool:
        is_asked = state.goes_back_to is not None and not state.is_left
        may_write = self._room(state) > 0 or not state.settles
        return is_asked and may_write and self._is_needed(state)

    def _go_back(self, state: AgentState) -> Iterator[Command]:
        state.go_back()
        is_kept = self._schedule.revision == "keep" and bool(state.rounds)
        state.has_stopped = state.has_stopped and is_kept
        name = state.agent.name
        text = self._texts.get(name)
        if text and text.grows_from is None:
            text.grows_from = self._sources.written[name]
            yield Retract(name, text.count(text.grows_from))

    # checks

    def _settle(self, state: AgentState, standing: int) -> Iterator[Command]:
        """What its call was to check stands as far as ``standing`` tokens of the text."""
        call, name = state.call, state.agent.name
        assert call is not None
        state.settles = call.settles
        if standing < call.standing:
            text = self._texts.setdefault(name, StandingText())
            text.cut(standing, call.written, call.written)
            yield Retract(name, standing)
            yield from self._revise_readers(name, standing)
            yield from self._watch_own(state)

    # steps

    def _advance_all(self) -> Iterator[Command]:
        for state in self._in_turn:
            if state.phase == "waiting" and self._has_turn(state):
                yield from self._advance_waiting(state)
            elif self._schedule.is_timed and state.call and not state.call.is_last:
                yield from self._advance_writing(state, state.call)

    def _has_turn(self, state: AgentState) -> bool:
        """Whether it is among those that may write at once, if somebody votes on it."""
        if self._schedule.at_once is None:
            return True
        before = self._pipeline.sample_turns.get(state.agent.name, ())
        writing = sum(self._states[name].phase != "ended" for name in before)
        return writing < self._schedule.at_once

    def _advance_waiting(self, state: AgentState) -> Iterator[Command]:
        fork = state.agent.fork
        if fork and not state.rounds and not self._sources.takes_item(state, fork):
            if self._states[fork.source].phase == "ended":
                yield from self._end_agent(state)
            return
        while (
            state.has_stopped
            and self._sources.says_nothing_new(state)
            and self._sources.is_whole(state)
        ):
            state.step += 1
        if self._schedule.checks:
            state.step = self._sources.furthest(state, state.step)
        step = state.awaited
        if state.has_stopped and self._sources.says_nothing_new(state):
            yield from self._watch_anything_new(state)
            return
        yield from self._watch(state, state.step, step)
        yield from self._set_grace(state, state.step, step)
        if self._sources.is_open(state, state.step, step):
            yield from self._start_step(state, step)

    def _advance_writing(self, state: AgentState, call: Call) -> Iterator[Command]:
        """While it writes: the next step's grace period may begin, or the next step itself."""
        number = state.step + 1
        step = state.staircase.step(number)
        yield from self._watch(state, number, step)
        yield from self._set_grace(state, number, step)
        is_cut = self._has_written_enough(state) and self._sources.is_open(state, number, step)
        if not call.settles:
            # Once there is what settles a text, no word on less is worth writing.
            yield from self._watch_settling(state)
            is_cut = is_cut or self._sources.may_settle(state)
        if is_cut and not state.is_cancelled:
            state.is_cancelled = True
            yield CancelCall(call.number)

    def _watch_settling(self, state: AgentState) -> Iterator[Command]:
        if self._schedule.checked is None:
            return  # All is read when sources end, which is heard of anyway.
        number = state.step + 1
        while not self._schedule.settles(state.staircase.step(number)):
            number += 1
        yield from self._watch(state, number, state.staircase.step(number))

    def _has_written_enough(self, state: AgentState) -> bool:
        """Whether it only writes on because its next step is not there."""
        write = state.awaited.write
        if self._schedule.starve == "wait" or write is None:
            return False
        return self._sources.tokens(state.agent.name) - state.starting_tokens >= write

    def _watch_anything_new(self, state: AgentState) -> Iterator[Command]:
        for source in state.agent.waits_for:
            if self._states[source].phase != "ended":
                yield self._watching(source, self._sources.tokens(source) + 1)

    def _watch(self, state: AgentState, number: int, step: Step) -> Iterator[Command]:
        if number in state.watched or step.read is None:
            return
        state.watched.add(number)
        for source in state.agent.waits_for:
            if not self._sources.is_there(source, step):
                yield self._watching(source, step.read)

    def _watching(self, agent: str, count: int) -> Watch:
        return Watch(agent, self.place(agent, count))

    def _set_grace(self, state: AgentState, number: int, step: Step) -> Iterator[Command]:
        barrier = self._schedule.barrier
        if barrier.kind != "grace" or number in state.graced:
            return
        sources = state.agent.waits_for
        there = sum(self._sources.is_there(source, step) for source in sources)
        if barrier.quorum(len(sources)) <= there < len(sources):
            timer = self._timer_count
            self._timer_count += 1
            state.graced.add(number)
            self._timers[timer] = (state, number)
            yield SetTimer(timer, barrier.grace_s or 0.0)

    def _start_step(self, state: AgentState, step: Step) -> Iterator[Command]:
        absent = {name for name in state.agent.waits_for if not self._sources.is_there(name, step)}
        state.late = absent
        state.rounds.append(self._sources.read(state, step))
        state.shown_in.append(state.step)
        is_last = self._sources.is_last(state, step)
        state.failures = 0
        yield self._start_call(state, self._limit(state, is_last), is_last)
        if is_last:
            yield from self._cancel_needless()
        else:
            yield from self._watch_own(state)

    def _watch_own(self, state: AgentState) -> Iterator[Command]:
        """Where the next step may begin while it still writes."""
        write = state.awaited.write
        if self._schedule.starve == "write" and write is not None:
            yield self._watching(state.agent.name, state.starting_tokens + write)

    def _limit(self, state: AgentState, is_last: bool) -> int:
        """Most tokens that the next call may write."""
        step = READ_ALL if is_last else state.awaited
        if step.write is None or self._schedule.starve == "write":
            return self._room(state)
        already = self._sources.tokens(state.agent.name) - state.rounds[-1].written
        return min(step.write - already, self._room(state))

    def _room(self, state: AgentState) -> int:
        return state.agent.max_tokens - self._sources.tokens(state.agent.name)

    def _start_call(self, state: AgentState, max_tokens: int, is_last: bool) -> StartCall:
        agent, written = state.agent, self._sources.written[state.agent.name]
        standing = self._sources.tokens(agent.name)
        settles = is_last or self._schedule.settles(state.awaited)
        if state.settles:
            state.settled = standing
        checked = standing - state.settled
        state.settles = settles and not checked
        assert max_tokens or checked, "a call for no tokens would never end"
        prompt = state.drawing.prompt(state.rounds, standing)
        call = Call(
            number=self._call_count,
            agent=agent.name,
            engine=agent.engine,
            step=state.step,
            read=state.rounds[-1].read,
            written=written,
            prompt=prompt,
            max_tokens=max_tokens,
            is_last=is_last,
            fallen=written - standing,
            checked=checked,
            settles=settles,
        )
        self._call_count += 1
        state.call, state.phase, state.starting_tokens = call, "writing", standing
        state.is_cancelled, state.ballot = False, None
        self._running[call.number] = state
        return StartCall(call)
