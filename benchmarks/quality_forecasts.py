"""Forecast and measured quality of schedules that no profile has seen, with 2 to 5 proposers.

    python -m benchmarks.quality_forecasts [--requests 192] [--proposers 2 3 4 5] [--processes 1]

For each number of proposers the quality of the hard embedded desk is profiled anew on so many
requests; then schedules in all layouts, of all families and explicit lists, play as many questions
that the profile was not made of. Of each: loss and agreement, forecast and measured by teacher
forcing, and the task's score, forecast by the agreement and measured. A forecast covers a
measurement if it lies within the 90 % interval of their difference, in which both samples count. No
clock counts here, so the numbers of proposers may run side by side.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from executor.embedded.scattered_desk import SCATTERED
from executor.line_log import LineLog
from executor.measure.measure_quality import measure_quality
from executor.measure.quality_log import QualityLog
from executor.opened_engines import OpenedEngines, open_engines, read_dataset
from executor.runtime import Job
from executor.scoring.scores import answer_scorer
from planner.evaluation.validate import FRESH
from planner.profiling.quality_profiling import make_quality, quality_key
from profiles.catalog import engine_profile
from profiles.latency.profile import LatencyProfile
from profiles.quality.forecast import QualityForecast
from profiles.quality.profile import QualityProfile
from profiles.store import provenance_of_now
from simulator.profile_forecaster import ProfileForecaster, sampled_workload
from staircase import uniform
from staircase.metrics.request_metrics import Summary, summarize
from staircase.schedule import Layout, Schedule, parse_staircase
from staircase.spec.scenario import Scenario

# By proposers: families and explicit lists, in all layouts.
CASES: dict[int, tuple[tuple[str, Layout], ...]] = {
    2: (
        ("constant:6,10,7", "rebuild"),
        ("geometric:5,1.7,40,9", "rebuild_query_first"),
        ("steps:10/12,30/9,70/500", "append_rounds"),
        ("steps:28/500", "rebuild"),
        ("constant:14,9,6", "interleave"),
        ("geometric:10,2,64,12", "interleave"),
    ),
    3: (
        ("constant:10,14,11", "rebuild"),
        ("constant:28,20,6", "rebuild_query_first"),
        ("geometric:6,1.5,32,8", "append_rounds"),
        ("steps:20/500", "append_rounds"),
        ("steps:44/500", "rebuild"),
        ("steps:4/3,20/15,52/500", "rebuild_query_first"),
        ("constant:5,5,3", "interleave"),
        ("constant:20,28,14", "interleave"),
        ("geometric:8,1.6,48,10", "interleave"),
        ("steps:16/10,60/500", "interleave"),
    ),
    4: (
        ("constant:18,10,9", "append_rounds"),
        ("steps:12/500", "rebuild"),
        ("geometric:12,1.4,40,6", "rebuild_query_first"),
        ("steps:36/20,90/500", "interleave"),
    ),
    5: (
        ("constant:9,9,5", "rebuild_query_first"),
        ("steps:32/500", "append_rounds"),
        ("geometric:16,2,64,18", "rebuild"),
        ("constant:26,13,8", "interleave"),
    ),
}
POINTS = 0.03


@dataclass(frozen=True)
class ScheduleRow:
    """One schedule; loss, agreement and score, forecast and measured."""

    name: str
    forecast: QualityForecast
    loss: Summary
    agreement: Summary
    score: Summary | None = None

    @property
    def loss_error(self) -> float:
        return abs(self.forecast.loss.mean / self.loss.mean - 1)

    @property
    def is_covered(self) -> bool:
        one, other = self.forecast.loss, self.loss
        width = math.hypot(one.high - one.low, other.high - other.low) / 2
        return abs(one.mean - other.mean) <= width

    @property
    def agreement_error(self) -> float:
        return self.forecast.agreement.mean - self.agreement.mean

    @property
    def score_error(self) -> float:
        """NaN without a score."""
        if self.forecast.score is None or self.score is None:
            return math.nan
        return self.forecast.score.mean - self.score.mean


def scenario_of(proposers: int, requests: int) -> Scenario:
    names = SCATTERED.correspondents[:proposers]
    roles = {name: {"role": "<report>", "max_tokens": 160} for name in names}
    content = {
        "name": f"{proposers} correspondents",
        "pipeline": {
            "moa": {"layers": [list(names)], "answer": "editor"},
            "agents": {**roles, "editor": {"role": "<edit>", "max_tokens": 64}},
        },
        "engines": {name: {"model": "embedded-hard"} for name in (*names, "editor")},
        "requests": {"dataset": "embedded-hard"},
        "profile": {"requests": requests, "quality_error": 0.001},
    }
    return Scenario.model_validate(content)


def profiled(scenario: Scenario, opened: OpenedEngines) -> QualityProfile:
    with tempfile.TemporaryDirectory() as folder:
        key = quality_key(scenario)
        lines = LineLog(Path(folder) / "samples.jsonl", QualityLog.keys(key))
        return make_quality(scenario, Path(), opened, QualityLog.of(lines, key))


def forecaster_of(scenario: Scenario, profile: QualityProfile) -> ProfileForecaster:
    """On the catalogue's CPU: what is read before what is written depends on no clock here."""
    engine = engine_profile("measured-cpu", None)
    latency = LatencyProfile(dict.fromkeys(scenario.real, engine), provenance_of_now())
    workload = sampled_workload(profile.samples, len(profile.samples))
    return ProfileForecaster(scenario.pipeline.build(), latency, profile, scenario.real, workload)


def rows_of(proposers: int, requests: int) -> list[ScheduleRow]:
    return list(rows(proposers, requests))


def rows(proposers: int, requests: int) -> Iterator[ScheduleRow]:
    scenario = scenario_of(proposers, requests)
    pipeline, score = scenario.pipeline.build(), answer_scorer(scenario.requests, Path())
    with open_engines(scenario) as opened:
        started = time.perf_counter()
        profile = profiled(scenario, opened)
        seconds = time.perf_counter() - started
        print(f"{proposers} proposers: {len(profile.samples)} requests in {seconds:.0f} s")
        forecaster, scorers = (
            forecaster_of(scenario, profile),
            opened.scorers_of(pipeline),
        )
        questions = read_dataset(scenario, Path(), requests, offset=FRESH)
        fully = opened.runtime.run([Job(pipeline, Schedule(), one) for one in questions])
        for words, layout in CASES[proposers]:
            schedule = uniform(pipeline, parse_staircase(words), layout)
            forecast = forecaster(schedule).quality
            assert forecast is not None
            outcomes = opened.runtime.run([Job(pipeline, schedule, one) for one in questions])
            pairs = zip(outcomes, fully, strict=True)
            found = [measure_quality(pipeline, scorers, *pair, layout) for pair in pairs]
            answers = [outcome.texts[pipeline.answer] for outcome in outcomes]
            scores = [score(*pair) or 0.0 for pair in zip(questions, answers, strict=True)]
            yield ScheduleRow(
                f"{proposers}: {words}, {layout}",
                forecast,
                summarize([one.loss for one in found]),
                summarize([one.agreement for one in found]),
                summarize(scores),
            )


def table(found: Sequence[ScheduleRow], requests: int) -> Table:
    columns = ("loss", "measured", "error", "within", "agreement", "measured", "score", "measured")
    shown = Table("proposers: schedule", *columns, title=f"{requests} requests each")
    for row in found:
        shown.add_row(
            row.name,
            _words(row.forecast.loss),
            _words(row.loss),
            f"{row.loss_error:.1%}",
            "yes" if row.is_covered else "no",
            f"{row.forecast.agreement.mean:.3f}",
            f"{row.agreement.mean:.3f}",
            _words(row.forecast.score),
            _words(row.score),
        )
    return shown


def _words(figure: Summary | None) -> str:
    return f"{figure.mean:.3f} ±{(figure.high - figure.low) / 2:.3f}" if figure else ""


def tell(found: Sequence[ScheduleRow], requests: int) -> None:
    Console(width=150).print(table(found, requests))
    forecast, real = [row.forecast.loss.mean for row in found], [row.loss.mean for row in found]
    near = sum(abs(row.score_error) <= POINTS for row in found)
    agreeing = sum(abs(row.agreement_error) <= POINTS for row in found)
    print(f"Spearman of forecast and measured loss: {spearmanr(forecast, real).statistic:.3f}")
    print(f"median relative error of the loss: {median(row.loss_error for row in found):.1%}")
    print(f"90 % intervals that cover: {sum(row.is_covered for row in found)} of {len(found)}")
    print(f"agreement within {POINTS:.0%}: {agreeing} of {len(found)}")
    if any(row.score for row in found):
        print(f"score within {POINTS:.0%}: {near} of {len(found)}")


def measured(counts: Sequence[int], requests: int, processes: int) -> list[ScheduleRow]:
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        found = pool.map(partial(rows_of, requests=requests), counts)
        return [row for some in found for row in some]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=192)
    parser.add_argument("--proposers", type=int, nargs="+", default=sorted(CASES), choices=CASES)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    found = measured(options.proposers, options.requests, options.processes)
    tell(found, options.requests)


if __name__ == "__main__":
    main()
