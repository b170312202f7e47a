"""What answers were written without: agents that failed, refused or said nothing, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from staircase.messages import EndReason
from staircase.timeline import Span, Timeline


@dataclass(frozen=True)
class Shortfall:
    """An agent whose text is not there, or not all of it.

    Attributes:
        why: the most frequent reason.
        is_part: it wrote something.
        answers: how many were written so.
    """

    agent: str
    why: str
    is_part: bool
    answers: int = 1

    @property
    def template(self) -> str:
        """Words, with places for ``answers``, how many answers there are, ``agent`` and ``why``."""
        return f"{{}} of {{}} answers lack {'part of ' if self.is_part else ''}{{}}: {{}}"


def shortfalls_of(timeline: Timeline) -> list[Shortfall]:
    """Of one request; an agent that was never asked is none, and one that a vote did not need."""
    voting = {name for vote in timeline.votes.values() for name in vote.reads}
    spans: dict[str, list[Span]] = {}
    for span in timeline.spans:
        if span.agent not in voting or span.reason != "cancelled":
            spans.setdefault(span.agent, []).append(span)
    return [one for agent, own in spans.items() for one in _shortfall(agent, own)]


def _shortfall(agent: str, spans: Sequence[Span]) -> Iterator[Shortfall]:
    written, last = sum(span.output_tokens for span in spans), spans[-1]
    why = [span.remark for span in spans if span.remark]
    if last.reason not in get_args(EndReason):
        why = [last.reason]
    elif not written and not why:
        why = ["wrote nothing in time" if last.reason == "cancelled" else "wrote nothing"]
    if why:
        yield Shortfall(agent, ", ".join(dict.fromkeys(why)), bool(written))


def count_shortfalls(timelines: Iterable[Timeline]) -> tuple[Shortfall, ...]:
    """Over the complete answers of ``timelines``."""
    whys: dict[tuple[str, bool], Counter[str]] = {}
    for timeline in timelines:
        for one in shortfalls_of(timeline) if timeline.error is None else ():
            whys.setdefault((one.agent, one.is_part), Counter())[one.why] += 1
    return tuple(
        Shortfall(agent, counts.most_common(1)[0][0], is_part, counts.total())
        for (agent, is_part), counts in sorted(whys.items())
    )


def missing_of(timeline: Timeline) -> Mapping[str, str]:
    """By agent, in words; for a record."""
    return {one.agent: _words(one) for one in shortfalls_of(timeline)}


def _words(one: Shortfall) -> str:
    return f"in part: {one.why}" if one.is_part else one.why


def shortfall_lines(shortfalls: Iterable[Shortfall], answers: int) -> list[str]:
    """Each in words."""
    return [one.template.format(one.answers, answers, one.agent, one.why) for one in shortfalls]
