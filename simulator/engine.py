"""What the simulator asks of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from simulator.event_queue import Clock
from staircase.messages import Call, EndReason
from staircase.play import CallResult
from staircase.prompt import Prompt, Segment
from staircase.revisions.updates import Update
from staircase.shared_texts import Parts, with_common_texts

# A call's name: (request, call number).
Key = tuple[int, int]


@dataclass(frozen=True)
class SimulatedCall:
    """A call and what the model would make of it.

    Attributes:
        request: number of the request that it belongs to.
        left_tokens: tokens that the agent would write until it ends, if all stood that stands now.
        ends_with_stop: whether the end costs an iteration of its own.
        thinking_tokens: that it thinks before; an engine makes them as it makes the others.
        parts: texts of the request that others have too.
        taken_back: of the tokens that it checks, those that do not stand; it writes as many more.
        updates: how an input comes that replaces part of what it said; none of any other.
    """

    request: int
    call: Call
    left_tokens: int
    ends_with_stop: bool
    thinking_tokens: int = 0
    parts: Parts = field(default_factory=dict)
    updates: tuple[Update, ...] = ()
    taken_back: int = 0

    @property
    def key(self) -> Key:
        return self.request, self.call.number

    @property
    def goal_tokens(self) -> int:
        """Tokens that it will think and write unless it is cancelled."""
        return self.thinking_tokens + self.taken_back + min(self.left_tokens, self.call.max_tokens)

    @property
    def ends_early(self) -> bool:
        """Whether it ends before ``max_tokens``."""
        return self.left_tokens < self.call.max_tokens

    @property
    def outputs(self) -> int:
        """What it takes: its tokens, and the end if that costs an iteration of its own."""
        ends_apart = self.ends_early and self.ends_with_stop
        return self.goal_tokens + int(ends_apart or self.goal_tokens == 0)

    def text(self, made: int) -> Prompt:
        """The prompt and the first ``made`` tokens after it, by what other requests call them.

        What is checked is computed whatever is in a cache, so it has a name of its own.
        """
        call, thought = self.call, min(made, self.thinking_tokens)
        whole = call.prompt.without_end(call.checked)
        whole = whole.extended(Segment(f"checked/{call.agent}/{call.number}", 0, call.checked))
        whole = whole.extended(Segment(f"thought/{call.agent}/{call.number}", 0, thought))
        whole = whole.extended(Segment(call.agent, call.written, call.written + made - thought))
        return Prompt(tuple(with_common_texts(whole.segments, self.parts)))

    def reason_after(self, outputs: int) -> EndReason:
        """Why it ended, if it did so after so many outputs."""
        if outputs < self.outputs:
            return "cancelled"
        return "stop" if self.ends_early else "length"


class SimulatedListener(Protocol):
    def on_token(self, key: Key, now_ps: int) -> None: ...

    def on_watched(self, key: Key, now_ps: int) -> None: ...

    def on_revised(self, key: Key, standing: int, tokens: int, now_ps: int) -> None:
        """Of what stood when it had written so many ``tokens``, only ``standing`` do now."""
        ...

    def on_end(self, key: Key, result: CallResult) -> None: ...


class SimulatedEngine(Protocol):
    """Serves calls in simulated time. Never calls a listener from within these methods, but for
    ``cancel``, which may end the call at once."""

    def submit(self, call: SimulatedCall, listener: SimulatedListener) -> None: ...

    def cancel(self, key: Key) -> None: ...

    def watch(self, key: Key, tokens: int) -> None:
        """Answer with ``on_watched`` when the call has so many tokens; at once if it has."""
        ...

    def tokens_of(self, key: Key) -> int | None:
        """Tokens that a call has written by now; None if each is reported by ``on_token``."""
        ...

    def busy_ps(self) -> list[int]:
        """Device time used so far, of each replica; empty if nobody knows."""
        ...

    def close(self) -> None:
        """Frees what is large: an engine is part of cycles, which are collected late."""
        ...


class EngineSetup(Protocol):
    """An engine that can be simulated."""

    def open(self, env: Clock, shared: dict[str, object]) -> SimulatedEngine:
        """A fresh engine; what several engines share, such as a device, is kept in ``shared``."""
        ...


def first_number(shared: dict[str, object], replicas: int) -> int:
    """Numbers so many new replicas, on from those that ``shared`` knows; returns the first."""
    first = shared.setdefault("replicas", 0)
    assert isinstance(first, int)
    shared["replicas"] = first + replicas
    return first
