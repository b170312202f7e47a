"""A call to a server that has not ended: what came of it so far, and what is reported of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from executor.engine import CallReport, EngineCall, Listener
from executor.openai.stream_chunks import Chunk, Usage
from executor.thinking_engine import ONLY_REASONED
from staircase.messages import EndReason

REFUSED = "refused"
CALLED_TOOL = "called a tool"


@dataclass
class Said:
    """What a server says of an answer beside its text."""

    usage: Usage | None = None
    end: EndReason | None = None
    unknown_end: str | None = None
    has_reasoned: bool = False
    thinking_tokens: int = 0
    thought_ns: int | None = None
    oddities: dict[str, None] = field(default_factory=dict)

    def note(self, chunk: Chunk) -> None:
        self.usage = chunk.usage or self.usage
        self.end = chunk.end or self.end
        self.unknown_end = chunk.unknown_end or self.unknown_end
        if chunk.is_reasoning:
            self.has_reasoned = True
            self.thinking_tokens += chunk.thinking_tokens
            self.thought_ns = self.thought_ns or time.perf_counter_ns()
        if chunk.is_refusal:
            self.oddities[REFUSED] = None
        if chunk.calls_tool:
            self.oddities[CALLED_TOOL] = None


@dataclass(frozen=True)
class Before:
    """What came of an earlier request for a call; ``cached_tokens`` of its prompt, if told."""

    cached_tokens: int | None
    guessed_tokens: int
    near_ties: int = 0


@dataclass(eq=False)
class ActiveCall:
    """A call that has not ended; of the attempts at it, only the last has its ``said``.

    Attributes:
        before: what came of an earlier request for it, as one that judged its guess.
        head: tokens that this one wrote.
    """

    call: EngineCall
    listener: Listener
    started_ns: int = field(default_factory=time.perf_counter_ns)
    said: Said = field(default_factory=Said)
    before: Before | None = None
    shown: list[int] = field(default_factory=list)
    head: Sequence[int] = ()

    def goes_on(self, before: Before) -> None:
        """With another request, after all that was shown."""
        self.before, self.head = before, tuple(self.shown)

    @property
    def left(self) -> EngineCall:
        """The call that writes what comes after ``head``."""
        call, head = self.call, self.head
        if self.before is None:
            return call
        return replace(
            call,
            prompt_ids=[*call.prompt_ids, *head],
            max_tokens=call.max_tokens - len(head),
            own_tokens=call.own_tokens + len(head),
            written=call.written + len(head),
            so_far=[*call.so_far, *head],
            guess=(),
        )

    @property
    def written(self) -> int:
        return len(self.shown)

    @property
    def room(self) -> int:
        return self.call.max_tokens - self.written

    @property
    def uncounted(self) -> int:
        """Tokens that the server wrote and whose text came with that of others.

        None are known where it may have counted others too, of which nothing was shown.
        """
        usage = self.said.usage
        if self.said.end != "length" or not usage or not self.written:
            return 0
        if self.said.has_reasoned and not usage.reasoning_tokens:
            return 0
        written = self.written - len(self.head)
        return max(0, min(usage.completion_tokens - written, self.room))

    @property
    def was_cut_short(self) -> bool:
        """By what was predicted wrong, which counts against ``max_tokens``."""
        usage = self.said.usage
        is_short = self.said.end == "length" and self.room > 0
        return is_short and usage is not None and usage.rejected_tokens > 0

    def show(self, tokens: Sequence[int]) -> None:
        now = time.perf_counter_ns()
        for token in tokens:
            self.shown.append(token)
            self.listener.on_token(self.call.key, token, now)

    def report(self, reason: EndReason, error: str | None) -> CallReport:
        """Nobody knows how busy a server's device was, so the call's whole time counts."""
        now, usage, before = time.perf_counter_ns(), self.said.usage, self.before
        cached, added = usage.cached_tokens if usage else None, 0
        if before:
            # What goes on after it is a prompt of its own.
            added = 0 if cached is None else len(self.left.prompt_ids) - cached
            cached = min(before.cached_tokens or 0, len(self.call.prompt_ids))
        return CallReport(
            reason,
            self.started_ns,
            now,
            now - self.started_ns,
            cached or 0,
            error,
            self._remark(reason),
            self._thinking_tokens,
            self.said.thought_ns,
            added_tokens=added,
            passes=usage.passes if usage and not before else 0,
            guessed_tokens=(usage.guessed_tokens if usage else 0)
            + (before.guessed_tokens if before else 0),
            near_ties=before.near_ties if before else 0,
        )

    @property
    def _thinking_tokens(self) -> int:
        """As the server counts them, or else the pieces in which they came."""
        usage = self.said.usage
        return (usage and usage.reasoning_tokens) or self.said.thinking_tokens

    def _remark(self, reason: EndReason) -> str | None:
        said, oddities = self.said, list(self.said.oddities)
        if reason != "cancelled" and said.end is None and said.unknown_end is not None:
            oddities.append(f"ended by finish_reason {said.unknown_end!r}")
        if said.has_reasoned and not self.written:
            oddities.append(ONLY_REASONED)
        return ", ".join(oddities) or None
