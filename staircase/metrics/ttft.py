"""Where the time to first token goes: the critical path of a request, walked backwards.

From the first token of the answer: the call that wrote it was prefilled, queued before that, and
before that its agent waited for whatever was there last: one of its sources or its own last call.
From that the walk goes on, to the arrival. The stretches follow one another, so they sum to TTFT.

    fixed    passes before a call reaches its engine
    queue    it waits for its prefill
    prefill  to its first token
    think    from there to the first token of what it writes, if it thinks before
    decode   to the token that was waited for
    arrive   of an input: it came to the token that was waited for
    rest     the waiting call had not yet started though all was there: a grace period, a hand-over
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from staircase.pipeline import Fork, Pipeline
from staircase.schedule import Schedule, Staircase
from staircase.timeline import Span, Timeline

Phase = Literal["fixed", "queue", "prefill", "think", "decode", "arrive", "rest"]
PHASES: tuple[Phase, ...] = ("fixed", "queue", "prefill", "think", "decode", "arrive", "rest")
# A reader starts at once when the last that it waits for is there. Real ones need some time for it,
# at most about this share of the time since the arrival.
HAND_OVER = 0.01


@dataclass(frozen=True)
class Stretch:
    """A part of the critical path; ``agent`` is empty before the first call."""

    agent: str
    phase: Phase
    start_ps: int
    stop_ps: int

    @property
    def length_ps(self) -> int:
        return self.stop_ps - self.start_ps


def ttft_path(
    timeline: Timeline, pipeline: Pipeline, schedule: Schedule, call_ps: Mapping[str, int]
) -> tuple[Stretch, ...]:
    """The stretches from the arrival to the first token of the answer; none if it has no token.

    When a source's token was there is known of its first and last; between them they are taken to
    come evenly, which decides only for whom a reader is said to have waited, where it may have been
    for several.

    Args:
        call_ps: by engine, what passes before a call reaches it, as far as that is known.
    """
    if not timeline.answer_ps:
        return ()
    return tuple(reversed(list(_Walk(timeline, pipeline, schedule, call_ps).stretches())))


@dataclass(frozen=True)
class _Walk:
    timeline: Timeline
    pipeline: Pipeline
    schedule: Schedule
    call_ps: Mapping[str, int]

    def stretches(self) -> Iterator[Stretch]:
        """The last first; none is empty."""
        now = self.timeline.answer_ps[0]
        span = self._first_writer()
        while span is not None:
            for stretch in self._within(span, now):
                yield stretch
                now = stretch.start_ps
            span = self._awaited(span)
        if now != self.timeline.arrival_ps:
            yield Stretch("", "rest", self.timeline.arrival_ps, now)

    def _first_writer(self) -> Span | None:
        own = [span for span in self._spans(self.pipeline.answer) if span.output_tokens]
        return min(own, key=lambda span: span.call, default=None)

    def _spans(self, agent: str, before: int | None = None) -> list[Span]:
        """Of one agent, in order; those of calls with smaller numbers than ``before``."""
        return [
            span
            for span in self.timeline.spans
            if span.agent == agent and (before is None or span.call < before)
        ]

    def _within(self, span: Span, now: int) -> Iterator[Stretch]:
        """What of ``span`` lies before ``now``, the last first."""
        for phase, begin in self._phases(span):
            # A clock that several threads read may be a little out of order.
            begin_ps = max(begin, self.timeline.arrival_ps)
            if begin_ps < now:
                yield Stretch(span.agent, phase, begin_ps, now)
                now = begin_ps

    def _phases(self, span: Span) -> list[tuple[Phase, int]]:
        """When each began, the last first."""
        if not self.pipeline[span.agent].has_engine:
            return [("rest", span.ended_ps), ("arrive", span.submitted_ps)]
        first = span.ended_ps if span.first_token_ps is None else span.first_token_ps
        thought = first if span.thought_ps is None else span.thought_ps
        reached = min(span.submitted_ps + self.call_ps.get(span.engine, 0), span.started_ps)
        return [
            ("rest", span.ended_ps),
            ("decode", first),
            ("think", thought),
            ("prefill", span.started_ps),
            ("queue", reached),
            ("fixed", span.submitted_ps),
        ]

    def _awaited(self, span: Span) -> Span | None:
        """The call that wrote what ``span`` had to wait for last."""
        own = self._spans(span.agent, span.call)[-1:]
        waits = [(last.ended_ps, last) for last in own]
        agent = self.pipeline[span.agent]
        for source, shown in zip(agent.reads, span.read, strict=True):
            written = self._spans(source, span.call)
            # A vote did not wait for those that were cut off when it was decided.
            if source in agent.peers or (agent.vote and _is_cut_off(written)):
                continue
            if agent.fork and source == agent.fork.source:
                level = self._starting_level(agent.fork, shown, written)
            else:
                level = self._level(span, shown, written)
            waits += [(_there_ps(one, level), one) for one in _holding(written, level)]
        waits += [(last.ended_ps, last) for last in self._before_its_turn(span)]
        waited_ps = span.submitted_ps - self.timeline.arrival_ps
        until_ps = span.submitted_ps - round(HAND_OVER * waited_ps)
        # What had ended long before was not the last, if anything else can have been.
        late = [wait for wait in waits if wait[1].ended_ps >= until_ps]
        return max(late or waits, key=lambda wait: wait[0], default=(0, None))[1]

    def _starting_level(self, fork: Fork, shown: int, written: list[Span]) -> int | None:
        """The token of its source that started a branch; None: its end."""
        if fork.starts_when == "begun":
            return shown if len(self.timeline.items[fork.source]) >= fork.item else None
        # A token of the next item says that this one is complete.
        return shown + 1 if _holding(written, shown + 1) else None

    def _before_its_turn(self, span: Span) -> list[Span]:
        """Where not all on whom somebody votes write at once: the ends of those before it."""
        if self.schedule.at_once is None or span.step:
            return []
        before = self.pipeline.sample_turns.get(span.agent, ())
        return [one for name in before for one in self._spans(name, span.call)[-1:]]

    def _level(self, span: Span, shown: int, written: list[Span]) -> int | None:
        """The token of a source that the step waited for; None: its end; 0: for nothing."""
        read = self.schedule.staircases.get(span.agent, Staircase()).step(span.step).read
        if read is not None and shown >= read:
            return read
        has_ended = bool(written) and written[-1].ended_ps <= span.submitted_ps
        # Else the barrier did not wait for this source.
        return None if has_ended or read is None else 0


def _is_cut_off(written: list[Span]) -> bool:
    return bool(written) and written[-1].reason == "cancelled"


def _holding(written: list[Span], level: int | None) -> list[Span]:
    """The call that wrote token number ``level``, or the last one."""
    if level is None:
        return written[-1:]
    return [one for one in written if one.written < level <= one.written + one.standing_tokens]


def _there_ps(span: Span, level: int | None) -> int:
    """About when token number ``level`` of the agent was there."""
    if level is None or span.first_token_ps is None:
        return span.ended_ps
    done = (level - span.written - 1) / max(span.output_tokens - 1, 1)
    return span.first_token_ps + round(done * (span.ended_ps - span.first_token_ps))
