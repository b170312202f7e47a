"""Figures of a whole run: throughput, and goodput under limits of latency.

As vLLM's ``bench serve`` defines them: throughput is requests completed, or their answers' tokens,
per second of the run; goodput counts only the requests that keep every limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from staircase.errors import SloError
from staircase.metrics.measured import Measured

MS_PER_S = 1000
LIMITS = {"ttft": "ttft_s", "tpot": "tpot_s", "e2e": "e2e_s", "e2el": "e2e_s"}


@dataclass(frozen=True)
class Slo:
    """The most that a request may take; None: no limit."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None

    def met_by(self, run: Measured) -> NDArray[np.bool_]:
        """By answered request. One token has no TPOT and keeps every limit of it, as in vLLM."""
        tpot_s = np.nan_to_num(run.columns["tpot_s"], nan=0.0)
        taken = {"ttft_s": run.columns["ttft_s"], "tpot_s": tpot_s, "e2e_s": run.columns["e2e_s"]}
        good = np.ones(run.answered, dtype=np.bool_)
        for name, values in taken.items():
            limit = getattr(self, name)
            good &= values <= (math.inf if limit is None else limit)
        return good


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
    """One run, from the first arrival to the last end, or the mean of several.

    Attributes:
        requests: all; throughput and goodput are of those with a complete answer.
        good_share: of all requests, those that keep every limit.
        empty: of those completed, answers without a token.
    """

    duration_s: float
    requests: float
    completed: float
    requests_per_s: float
    answer_tokens_per_s: float
    goodput_per_s: float
    good_share: float
    empty: float


def measure_run(run: Measured, slo: Slo) -> RunMetrics:
    good = int(slo.met_by(run).sum())
    return RunMetrics(
        duration_s=run.duration_s,
        requests=run.requests,
        completed=run.answered,
        requests_per_s=_per(run.answered, run.duration_s),
        answer_tokens_per_s=_per(float(run.columns["answer_tokens"].sum()), run.duration_s),
        goodput_per_s=_per(good, run.duration_s),
        good_share=good / run.requests,
        empty=int((run.columns["answer_tokens"] == 0).sum()),
    )


def measure_runs(runs: Sequence[Measured], slo: Slo) -> RunMetrics:
    """The mean of each figure over ``runs``."""
    rows = [asdict(measure_run(run, slo)) for run in runs]
    return RunMetrics(**{name: float(np.mean([row[name] for row in rows])) for name in rows[0]})


def _per(count: float, duration_s: float) -> float:
    return count / duration_s if duration_s else math.nan
