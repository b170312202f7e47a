"""Figures of a whole run: throughput, and goodput under limits of latency.

As vLLM's ``bench serve`` defines them: throughput is requests completed, or their answers' tokens,
per second of the run; goodput counts only the requests that keep every limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from staircase.errors import SloError
from staircase.metrics import RequestMetrics, measure
from staircase.timeline import Timeline, to_s

MS_PER_S = 1000
LIMITS = {"ttft": "ttft_s", "tpot": "tpot_s", "e2e": "e2e_s", "e2el": "e2e_s"}


@dataclass(frozen=True)
class Slo:
    """The most that a request may take; None: no limit."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None

    def is_met(self, row: RequestMetrics) -> bool:
        """An answer of one token has no TPOT and keeps every limit of it, as in vLLM."""
        tpot_s = 0.0 if math.isnan(row.tpot_s) else row.tpot_s
        taken = ((row.ttft_s, self.ttft_s), (tpot_s, self.tpot_s), (row.e2e_s, self.e2e_s))
        return all(limit is None or value <= limit for value, limit in taken)


def parse_slo(words: Sequence[str]) -> Slo:
    """Limits as vLLM's ``--goodput`` takes them: NAME:MILLISECONDS.

    Raises:
        SloError: an unknown name, one given twice, or no such number.
    """
    limits: dict[str, float] = {}
    for word in words:
        name, _, number = word.partition(":")
        if name not in LIMITS:
            raise SloError(f"SLO {word!r}: must be ttft:MS, tpot:MS or e2e:MS, as in ttft:500")
        if LIMITS[name] in limits:
            raise SloError(f"SLO {word!r}: {name} has a limit already; give one")
        limits[LIMITS[name]] = _milliseconds(word, number) / MS_PER_S
    return Slo(**limits)


def _milliseconds(word: str, number: str) -> float:
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not 0 <= limit < math.inf:
        raise SloError(f"SLO {word!r}: {number!r} must be milliseconds, 0 or more, as in ttft:500")
    return limit


@dataclass(frozen=True)
class RunMetrics:
    """One run, from the first arrival to the last end.

    Attributes:
        requests: all; throughput and goodput are of those with a complete answer.
        good_share: of all requests, those that keep every limit.
    """

    duration_s: float
    requests: int
    completed: int
    requests_per_s: float
    answer_tokens_per_s: float
    goodput_per_s: float
    good_share: float


def measure_run(timelines: Sequence[Timeline], slo: Slo) -> RunMetrics:
    """``timelines`` holds one or more."""
    began_ps = min(timeline.arrival_ps for timeline in timelines)
    duration_s = to_s(max(timeline.completed_ps for timeline in timelines) - began_ps)
    rows = [measure(timeline) for timeline in timelines if not timeline.error]
    good = sum(slo.is_met(row) for row in rows)
    return RunMetrics(
        duration_s=duration_s,
        requests=len(timelines),
        completed=len(rows),
        requests_per_s=_per(len(rows), duration_s),
        answer_tokens_per_s=_per(sum(row.answer_tokens for row in rows), duration_s),
        goodput_per_s=_per(good, duration_s),
        good_share=good / len(timelines),
    )


def _per(count: float, duration_s: float) -> float:
    return count / duration_s if duration_s else math.nan
