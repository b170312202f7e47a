"""What agents' sources have by now, and so which steps may start and what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from staircase.conducting.agent_state import AgentState
from staircase.messages import Item
from staircase.pipeline import Fork
from staircase.prompt import Round
from staircase.revisions.standing_text import StandingText
from staircase.schedule import Schedule, Step
from staircase.votes import Count, count


@dataclass
class Sources:
    """Of one request.

    Attributes:
        states: of all agents, by name.
        texts: those of which not all stands as it was written.
        written: tokens that each agent has written.
        items: of an agent's text, those that are known.
    """

    schedule: Schedule
    states: Mapping[str, AgentState]
    texts: dict[str, StandingText]
    written: Mapping[str, int] = field(default_factory=dict)
    items: Mapping[str, Sequence[Item]] = field(default_factory=dict)

    def tokens(self, agent: str) -> int:
        """Tokens of its text that stand."""
        written, text = self.written[agent], self.texts.get(agent)
        return written if text is None else text.count(written)

    def is_there(self, source: str, step: Step) -> bool:
        if self.states[source].phase == "ended":
            return True
        return step.read is not None and self.tokens(source) >= step.read

    def is_whole(self, state: AgentState) -> bool:
        return all(self.is_there(source, state.awaited) for source in state.agent.waits_for)

    def is_open(self, state: AgentState, number: int, step: Step) -> bool:
        """Whether the barrier lets the step start."""
        absent = [name for name in state.agent.waits_for if not self.is_there(name, step)]
        if not absent:
            return True
        barrier, sources = self.schedule.barrier, len(state.agent.waits_for)
        if barrier.kind == "ahead":
            return state.agent.vote is not None and self.count(state).lead >= (barrier.count or 0)
        if sources - len(absent) < barrier.quorum(sources):
            return False
        if barrier.kind == "quorum":
            return True
        return number in state.rang or all(name in state.late for name in absent)

    def is_last(self, state: AgentState, step: Step) -> bool:
        """Whether every source ended before ``step`` has read what it is to.

        One that ended just there does not count: whether its end is known when its last token is
        depends on the clock, and what a schedule means must not. Peers are read on until they end,
        though an agent that thought it was done looks only once more.
        """
        if step.read is None:
            return True
        if not all(
            self.states[source].phase == "ended" and self.tokens(source) < step.read
            for source in state.agent.waits_for
        ):
            return False
        peers = (self.states[name] for name in state.agent.peers)
        return state.has_stopped or all(peer.phase == "ended" for peer in peers)

    def furthest(self, state: AgentState, number: int) -> int:
        """The step that starts in place of step ``number``: later ones that may start as well, and
        show more, overtake it, as they check what it would write."""
        while self._is_overtaken(state, number):
            number += 1
        return number

    def _is_overtaken(self, state: AgentState, number: int) -> bool:
        step, later = (state.staircase.step(number + more) for more in (0, 1))
        if self.is_last(state, step) or not self.is_open(state, number + 1, later):
            return False
        shows_more = self.read(state, later).read != self.read(state, step).read
        return shows_more or self.is_last(state, later)

    def may_settle(self, state: AgentState) -> bool:
        """Whether after the step under way one comes at once whose text stays for good."""
        number = self.furthest(state, state.step + 1)
        step = state.staircase.step(number)
        settles = self.schedule.settles(step) or self.is_last(state, step)
        return settles and self.is_open(state, number, step)

    def read(self, state: AgentState, step: Step) -> Round:
        """What the step shows: never less than was shown before, of peers all, of a fork's source
        what there is to the item's end, and to a vote the text that it takes.
        """
        agent = state.agent
        if agent.vote:
            winner = self.count(state).winner
            taken = (self.tokens(name) if name == winner else 0 for name in agent.reads)
            return Round(tuple(taken), 0)
        shown = state.rounds[-1].read if state.rounds else (0,) * len(agent.reads)
        there = [self.tokens(source) for source in agent.reads]
        if self.schedule.reading == "exact" and step.read is not None:
            level, pairs = step.read, zip(there, agent.reads, strict=True)
            there = [min(n, level) if name in agent.waits_for else n for n, name in pairs]
        if agent.fork:
            there[agent.reads.index(agent.fork.source)] = state.item_end
        read = tuple(max(pair) for pair in zip(shown, there, strict=True))
        return Round(read, self.tokens(state.agent.name))

    def says_nothing_new(self, state: AgentState) -> bool:
        """Whether an agent that thought it was done would read just what it has read."""
        step = state.awaited
        if self.is_last(state, step):
            return False
        return self.read(state, step).read == state.rounds[-1].read

    def takes_item(self, state: AgentState, fork: Fork) -> bool:
        """Whether a branch may start by its item; where it may, what it sees is kept."""
        found = self._found_item(fork)
        if found is None:
            return False
        begin, state.item_end = found
        if fork.sees == "item":
            state.drawing.skipped[fork.source] = lambda _: begin
        return True

    def rounds_within(self, state: AgentState, source: str, standing: int) -> int:
        """How many of its rounds hold, if only ``standing`` tokens of ``source`` stand: none of a
        branch that would not start as it did."""
        fork = state.agent.fork
        if fork and fork.source == source and state.rounds:
            found = self._found_item(fork)
            return len(state.rounds) if found and found[1] == state.item_end else 0
        return state.rounds_within(source, standing)

    def _found_item(self, fork: Fork) -> tuple[int, int] | None:
        """Tokens of the source before the item that starts a branch, and when that starts."""
        there = self.tokens(fork.source)
        begun = [one for one in self.items.get(fork.source, ()) if one.seen <= there]
        own, later = begun[fork.item - 1 : fork.item], begun[fork.item : fork.item + 1]
        ends = [one.before for one in later]
        if fork.starts_when == "begun":
            ends = [one.seen for one in own]
        if self.states[fork.source].phase == "ended" and (own or fork.otherwise == "at_end"):
            ends.append(there)
        if not ends:
            return None
        return own[0].before if own else 0, ends[0]

    def count(self, state: AgentState) -> Count:
        """Of a vote: the ballots of those that have ended."""
        names = state.agent.reads
        return count(
            (name, self.states[name].ballot) for name in names if self.states[name].has_ended
        )
