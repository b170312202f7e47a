"""What goes into a conductor and what comes out of it: events and commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from staircase.prompt import Prompt

EndReason = Literal["stop", "length", "cancelled"]


class Item(NamedTuple):
    """An item of an agent's text: tokens ``before`` it, and how many have to stand for it to be
    ``seen``."""

    before: int
    seen: int


@dataclass(frozen=True)
class Call:
    """One generation request to an engine.

    Attributes:
        number: unique within the conductor.
        step: which step of the agent's staircase it writes, from 0.
        read: tokens of each source that it is shown.
        written: tokens that the agent wrote before it.
        max_tokens: most tokens it may write.
        is_last: the agent will not read any more.
        fallen: of those written, tokens that do not stand any more.
        checked: of those at the prompt's end, tokens that stand only as far as the model would
            write them after what is before them.
        settles: what it writes and checks stays for good.

    One without a prompt of its own brings an input; one of a vote has in its prompt the text that
    was voted for, and writes just that.
    """

    number: int
    agent: str
    engine: str
    step: int
    read: tuple[int, ...]
    written: int
    prompt: Prompt
    max_tokens: int
    is_last: bool
    fallen: int = 0
    checked: int = 0
    settles: bool = True

    @property
    def standing(self) -> int:
        """Tokens of the text that it goes on with."""
        return self.written - self.fallen


@dataclass(frozen=True)
class TokensThere:
    agent: str


@dataclass(frozen=True)
class CallEnded:
    """``stop``: the model ended its text; ``length``: max_tokens were written; or ``cancelled``.

    ``ballot``: the answer that the agent's text is for, if somebody votes on it and it is for one.
    """

    call: int
    reason: EndReason
    ballot: str | None = None


@dataclass(frozen=True)
class CallFailed:
    call: int
    error: str


@dataclass(frozen=True)
class TimerRang:
    timer: int


@dataclass(frozen=True)
class Leave:
    """``agent`` writes no more: what it has written by now is its text."""

    agent: str


@dataclass(frozen=True)
class Revised:
    """Of what stood of ``agent``'s text when it had ``written`` so many tokens in all, only the
    first ``standing`` do from now on; what it wrote and writes after that follows them."""

    agent: str
    standing: int
    written: int


@dataclass(frozen=True)
class Checked:
    """Of the text that ``call`` goes on with only the first ``standing`` tokens stand: the next one
    would have been written otherwise. Comes before the call's first token and its end."""

    call: int
    standing: int


@dataclass(frozen=True)
class StartCall:
    call: Call


@dataclass(frozen=True)
class Watch:
    """Say so (``TokensThere``) when ``agent`` has written ``count`` tokens."""

    agent: str
    count: int


@dataclass(frozen=True)
class Retract:
    """Only the first ``standing`` tokens of what ``agent`` has written by now are its text."""

    agent: str
    standing: int


@dataclass(frozen=True)
class CancelCall:
    call: int


@dataclass(frozen=True)
class SetTimer:
    timer: int
    seconds: float


@dataclass(frozen=True)
class Complete:
    """The answer is there."""


@dataclass(frozen=True)
class GiveUp:
    """The answer cannot be completed."""

    error: str


Event = TokensThere | CallEnded | CallFailed | TimerRang | Leave | Revised | Checked
Command = StartCall | Watch | Retract | CancelCall | SetTimer | Complete | GiveUp
