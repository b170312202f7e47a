"""Forecast and measured quality of 16 schedules that no profile has seen, on real models.

    python -m benchmarks.real_quality SCENARIO PROFILES [--requests 24]

SCENARIO is a file such as ``examples/real/batched.yaml``; PROFILES is a folder with its
``latency.json`` and ``quality.json`` (``staircase profile SCENARIO --out PROFILES``). There are
as many schedules in each of the profile's layouts, two or four. They play as many questions that
the profile was not made of, with the drafts of the fully read run. What was played is kept in
PROFILES, so an interrupted run goes on. No clock counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.progress import Progress

from benchmarks.quality_forecasts import ScheduleRow, tell
from executor.kept_runs import play_kept
from executor.line_log import ItemLog, LineLog
from executor.measure.measure_quality import MeasuredQuality, measure_quality
from executor.opened_engines import OpenedEngines, open_engines, read_dataset
from executor.replaying import replay_measured
from executor.runtime import Job, Outcome
from planner.evaluation.validate import FRESH
from planner.profiling.quality_profiling import quality_key
from planner.profiling.text_batches import in_batches, requests_at_once
from profiles.latency.profile import load_latency
from profiles.quality.profile import load_quality
from simulator.profile_forecaster import ProfileForecaster, sampled_workload
from staircase import uniform
from staircase.metrics.request_metrics import summarize
from staircase.schedule import Layout, Schedule, parse_staircase
from staircase.spec.scenario import Scenario, load_scenario

SCHEDULES = 16
# Of drafts of some 100 tokens.
CASES: dict[Layout, tuple[str, ...]] = {
    "append_rounds": (
        "constant:16,24,16",
        "steps:32/500",
        "steps:20/16,64/500",
        "constant:8,12,6",
        "geometric:10,2,64,12",
        "steps:60/500",
        "constant:36,30,10",
        "steps:12/6,40/24,80/500",
    ),
    "rebuild": ("constant:12,20,10", "geometric:8,1.7,48,12", "steps:24/500", "steps:16/12,72/500"),
    "rebuild_query_first": (
        "constant:20,12,8",
        "constant:36,24,16",
        "geometric:12,1.5,40,8",
        "steps:48/500",
        "steps:24/500",
        "constant:10,16,12",
        "steps:30/20,70/500",
        "constant:48,20,10",
    ),
    "interleave": (
        "constant:16,16,12",
        "constant:32,32,24",
        "steps:24/20,72/500",
        "geometric:12,1.6,48,14",
    ),
}


def schedules_of(scenario: Scenario) -> dict[str, Schedule]:
    pipeline = scenario.pipeline.build()
    return {
        f"{words}, {layout}": uniform(pipeline, parse_staircase(words), layout)
        for layout in scenario.plan.layouts
        for words in CASES[layout][: SCHEDULES // len(scenario.plan.layouts)]
    }


def rows(
    scenario: Scenario, source: Path, folder: Path, requests: int, step: Callable[[], None]
) -> Iterator[ScheduleRow]:
    quality = load_quality(folder / "quality.json")
    workload = sampled_workload(quality.samples, len(quality.samples))
    forecaster = ProfileForecaster(
        scenario.pipeline.build(),
        load_latency(folder / "latency.json"),
        quality,
        {**scenario.real, **scenario.remote},
        workload,
    )
    with open_engines(in_batches(scenario), True) as opened:
        found = measured(scenario, source, folder, requests, opened, step)
    for name, schedule in schedules_of(scenario).items():
        forecast = forecaster(schedule).quality
        assert forecast is not None
        loss = summarize([one.loss for one in found[name]])
        yield ScheduleRow(name, forecast, loss, summarize([one.agreement for one in found[name]]))


def measured(
    scenario: Scenario,
    source: Path,
    folder: Path,
    requests: int,
    opened: OpenedEngines,
    step: Callable[[], None],
) -> dict[str, list[MeasuredQuality]]:
    """By schedule, of each question."""
    pipeline, key = scenario.pipeline.build(), quality_key(scenario)
    lines = LineLog(folder / "real_quality.jsonl", [f"{key} full", f"{key} played"])
    kept = ItemLog(lines, f"{key} played", MeasuredQuality)
    at_once, scorers = requests_at_once(in_batches(scenario)), opened.scorers_of(pipeline)
    questions = read_dataset(scenario, source, requests, offset=FRESH)
    normal = [Job(pipeline, Schedule(), question) for question in questions]
    whole = ItemLog(lines, f"{key} full", Outcome)
    full = play_kept(opened.runtime, normal, whole, step, concurrency=at_once)

    def measure(job: Job, number: int, outcome: Outcome) -> MeasuredQuality:
        layout = job.schedule.layout
        return measure_quality(job.pipeline, scorers, outcome, full[number], layout)

    schedules = schedules_of(scenario)
    cells = [(name, schedules[name], n) for name in schedules for n in range(requests)]
    figures = replay_measured(
        opened.runtime,
        pipeline,
        cells,
        questions,
        full,
        kept,
        measure,
        step,
        concurrency=at_once,
    )
    found: dict[str, list[MeasuredQuality]] = {}
    for (name, *_), one in zip(cells, figures, strict=True):
        found.setdefault(name, []).append(one)
    return found


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("profiles", type=Path)
    parser.add_argument("--requests", type=int, default=24)
    given = parser.parse_args(words)
    scenario = load_scenario(given.scenario)
    total = given.requests * (1 + len(schedules_of(scenario)))
    with Progress() as progress:
        task = progress.add_task("requests", total=total)
        found = list(
            rows(
                scenario,
                given.scenario.parent,
                given.profiles,
                given.requests,
                lambda: progress.advance(task),
            )
        )
    tell(found, given.requests)


if __name__ == "__main__":
    main()
