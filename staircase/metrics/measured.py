"""The requests of a run, measured: one column for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from staircase.metrics.request_metrics import (
    METRICS,
    OF_SOME,
    READING_RATE,
    Floats,
    Summary,
    measure,
    summarize,
    summarize_pooled,
)
from staircase.timeline import PS_PER_S, Timeline, to_s


@dataclass(frozen=True)
class Measured:
    """Columns of the requests with a complete answer.

    Attributes:
        requests: all of them.
        duration_s: from the first arrival to the last end.
        columns: by the names of ``staircase.metrics.request_metrics.METRICS``.
        gaps_s: by request, between the tokens of its answer; of every n-th request only where there
            are very many.
    """

    requests: int
    duration_s: float
    columns: Mapping[str, Floats]
    gaps_s: Sequence[Floats]

    @property
    def answered(self) -> int:
        return len(self.columns["ttft_s"])

    def summaries(self) -> dict[str, Summary]:
        """Every metric that these requests have, and ``itl_s``."""
        found = {name: summarize(column) for name, column in self.columns.items() if self.has(name)}
        return {**found, "itl_s": summarize_pooled(self.gaps_s)}

    def has(self, name: str) -> bool:
        """Whether it is a metric of any of these requests."""
        return name not in OF_SOME or not bool(np.isnan(self.columns[name]).all())


def summarize_replicates(runs: Sequence[Measured]) -> dict[str, Summary]:
    """Of all requests of all runs; the interval is where the means of 90 % of the runs lie.

    A single run keeps the interval of its mean over requests.
    """
    if len(runs) == 1:
        return runs[0].summaries()
    each = [run.summaries() for run in runs]
    columns = {name: np.concatenate([run.columns[name] for run in runs]) for name in METRICS}
    gaps_s = [gaps for run in runs for gaps in run.gaps_s]
    every = Measured(sum(run.requests for run in runs), 0.0, columns, gaps_s).summaries()
    return {
        name: _spread(summary, [one[name].mean for one in each]) for name, summary in every.items()
    }


def _spread(summary: Summary, means: Sequence[float]) -> Summary:
    low, high = np.nanpercentile(means, [5, 95])
    return replace(summary, low=float(low), high=float(high))


def measure_all(timelines: Sequence[Timeline], reading_rate: float = READING_RATE) -> Measured:
    """``timelines`` holds one or more."""
    complete = [timeline for timeline in timelines if not timeline.error]
    rows = [measure(timeline, reading_rate) for timeline in complete]
    began_ps = min(timeline.arrival_ps for timeline in timelines)
    return Measured(
        len(timelines),
        to_s(max(timeline.completed_ps for timeline in timelines) - began_ps),
        {name: np.array([getattr(row, name) for row in rows], dtype=float) for name in METRICS},
        [np.diff(timeline.answer_ps) / PS_PER_S for timeline in complete],
    )
