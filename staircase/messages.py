"""What goes into a conductor and what comes out of it: events and commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from staircase.prompt import Prompt

EndReason = Literal["stop", "length", "cancelled"]


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
class StartCall:
    call: Call


@dataclass(frozen=True)
class Watch:
    """Say so (``TokensThere``) when ``agent`` has written ``count`` tokens."""

    agent: str
    count: int


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


Event = TokensThere | CallEnded | CallFailed | TimerRang | Leave
Command = StartCall | Watch | CancelCall | SetTimer | Complete | GiveUp
