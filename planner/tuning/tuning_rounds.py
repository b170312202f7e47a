"""What the rounds of a tuning are, and how a round's forecasts are evaluated by its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from planner.results.plans import Candidate
from planner.tuning.pace import mean_pace
from planner.tuning.run_log import PlayedRun
from profiles.latency.profile import LatencyProfile
from profiles.latency.tuning import EvaluatedRound
from simulator.profile_forecaster import ProfileForecaster
from staircase.metrics.measured import measure_all

Verdict = Literal["agreed", "rounds used", "budget used"]


@dataclass(frozen=True)
class TuningEffort:
    """How long to go on.

    Attributes:
        tolerance: of the median relative error of TTFT, for the pace of the runs.
        requests: that each schedule plays in a round.
        front: members of the front that are played beside the named candidates.
        budget_s: of real runs in all rounds; None: no limit.
    """

    rounds: int = 2
    tolerance: float = 0.05
    requests: int = 12
    front: int = 5
    budget_s: float | None = None


@dataclass(frozen=True)
class TuningRow:
    """TTFT of one schedule in one round: forecast from the measured profile, from the corrected one
    before the runs, from this for the pace of the runs; and measured."""

    name: str
    candidate: Candidate
    untuned_s: float
    tuned_s: float
    at_pace_s: float
    measured_s: float
    loss: float | None


@dataclass(frozen=True)
class TuningRound:
    """One round, and how its forecasts met its runs."""

    evaluated: EvaluatedRound
    rows: tuple[TuningRow, ...]


@dataclass(frozen=True)
class Tuned:
    """What came of it; ``latency`` is corrected for the pace of the last round."""

    verdict: Verdict
    rounds: tuple[TuningRound, ...]
    latency: LatencyProfile


def evaluated_round(
    number: int,
    named: Mapping[str, Candidate],
    runs: Sequence[PlayedRun],
    measured: ProfileForecaster,
    pace_before: float,
) -> TuningRound:
    """The round in which ``named`` were played.

    Args:
        named: with forecasts for the pace ``pace_before``.
        measured: forecasts from the measured profile, at pace 1.
    """
    pace = mean_pace([run.pace for run in runs])
    rows = tuple(
        _row(
            name, candidate, [run for run in runs if run.name == name], measured, pace / pace_before
        )
        for name, candidate in named.items()
    )
    untuned, tuned, at_pace = (
        float(np.median([abs(getattr(row, kind) / row.measured_s - 1) for row in rows]))
        for kind in ("untuned_s", "tuned_s", "at_pace_s")
    )
    requests = len(runs) // len(rows)
    return TuningRound(
        EvaluatedRound(number, len(rows), requests, pace, untuned, tuned, at_pace), rows
    )


def _row(
    name: str,
    candidate: Candidate,
    runs: Sequence[PlayedRun],
    measured: ProfileForecaster,
    slower: float,
) -> TuningRow:
    taken = measure_all([run.timeline for run in runs], measured.reading_rate).summaries()
    losses = [run.loss for run in runs if run.loss is not None]
    return TuningRow(
        name,
        candidate,
        measured(candidate.schedule).metrics["ttft_s"].mean,
        candidate.ttft_s,
        candidate.ttft_s * slower,
        taken["ttft_s"].mean,
        float(np.mean(losses)) if losses else None,
    )
