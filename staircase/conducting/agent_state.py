"""What a conductor knows of one agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from staircase.messages import Call
from staircase.pipeline import Agent
from staircase.prompt import Drawing, Round
from staircase.schedule import Staircase, Step


@dataclass
class AgentState:
    """What one agent is doing.

    Attributes:
        step: of its staircase, that it writes or waits for.
        rounds: what its steps have shown so far.
        shown_in: the step that showed each of ``rounds``.
        goes_back_to: the step from which it goes on when its call, which is being cancelled, ends.
        item_end: of a branch, tokens of its source up to where it starts.
        starting_tokens: of its text, when its call began.
        settled: tokens of its text that stay for good, if not all do.
        settles: all of its text stays for good, and what is being written.
        has_stopped: it thought that it was done, or has no room for more.
        is_left: nobody waits for more of it.
        failures: of its calls, one after the other.
        watched, graced, rang: steps whose sources are watched, whose grace period began or passed.
        late: those that it did not wait for when its last step began.
        ballot: what its text is for, to a vote.
    """

    agent: Agent
    staircase: Staircase
    drawing: Drawing
    phase: Literal["waiting", "writing", "ended"] = "waiting"
    step: int = 0
    rounds: list[Round] = field(default_factory=list)
    shown_in: list[int] = field(default_factory=list)
    goes_back_to: int | None = None
    item_end: int = 0
    call: Call | None = None
    starting_tokens: int = 0
    settled: int = 0
    settles: bool = True
    is_cancelled: bool = False
    has_stopped: bool = False
    is_left: bool = False
    failures: int = 0
    watched: set[int] = field(default_factory=set)
    graced: set[int] = field(default_factory=set)
    rang: set[int] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    ballot: str | None = None

    @property
    def awaited(self) -> Step:
        return self.staircase.step(self.step)

    @property
    def has_ended(self) -> bool:
        """Whether it writes no more, or will not once its call has ended."""
        return self.phase == "ended" or self.is_left

    def wants(self, source: Agent) -> bool:
        """Whether it may still want more of ``source``: what a branch forks from, until its item
        is there; an input, which may take that back, until the branch has ended.
        """
        if self.agent.starts_by(source.name):
            goes_back = self.goes_back_to is not None
            waits = not self.rounds and (self.phase == "waiting" or goes_back)
            return waits or (source.arrival is not None and self.phase != "ended")
        return self.phase == "waiting" or (self.call is not None and not self.call.is_last)

    # where a text that it read is revised

    def rounds_within(self, source: str, standing: int) -> int:
        """The first of its rounds that show no more than ``standing`` tokens of ``source``."""
        place = self.agent.reads.index(source)
        return sum(shown.read[place] <= standing for shown in self.rounds)

    def forget_rounds(self, first: int) -> None:
        """What was shown from round ``first`` on."""
        del self.rounds[first:], self.shown_in[first:]

    def cut_rounds(self, source: str, standing: int) -> None:
        """No round showed more than ``standing`` tokens of ``source``."""
        place = self.agent.reads.index(source)
        self.rounds = [_cut(shown, place, standing) for shown in self.rounds]

    def is_sent_back_to(self, step: int) -> None:
        """``step``, unless it is to go back further anyway."""
        self.goes_back_to = min(step, self.step if self.goes_back_to is None else self.goes_back_to)

    def go_back(self) -> None:
        """It waits for the step that it was sent back to, and draws its prompts anew."""
        assert self.goes_back_to is not None
        self.phase, self.step, self.goes_back_to = "waiting", self.goes_back_to, None
        self.drawing.begin_anew()
        self.watched.clear()
        for known in (self.graced, self.rang):
            known.difference_update({step for step in known if step >= self.step})


def _cut(shown: Round, place: int, standing: int) -> Round:
    read = [min(n, standing) if at == place else n for at, n in enumerate(shown.read)]
    return shown._replace(read=tuple(read))
