"""Forecast and measurement of guesses alone, of a final check alone, and of both.

    staircase profile SCENARIO --out FOLDER
    python -m benchmarks.guess_forecasts SCENARIO FOLDER [--requests 6] [--staircase WORDS]

SCENARIO has engines in this process with ``prompt_lookup``. Every row is played on them and, for
those without guesses, on the same ones without; forecasts are those of the profiles in FOLDER.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from executor.opened_engines import open_engines, read_dataset
from executor.runtime import Job
from planner.workspace import Workspace
from staircase import Pipeline, Schedule
from staircase.metrics.measured import measure_all
from staircase.metrics.request_metrics import Summary
from staircase.schedule import parse_staircase, uniform

FIGURES = {"ttft_s": "first token s", "smooth_start_s": "smooth start s", "e2e_s": "last token s"}


@dataclass(frozen=True)
class Row:
    """One schedule, on engines that guess or do not."""

    name: str
    forecast: Mapping[str, Summary]
    measured: Mapping[str, Summary]

    def cells(self) -> list[str]:
        return [self.name, *map(self._cell, FIGURES)]

    def _cell(self, figure: str) -> str:
        forecast, measured = self.forecast[figure].mean, self.measured[figure].mean
        return f"{forecast:.2f} {measured:.2f} ({forecast / measured - 1:+.0%})"


def without_guesses(work: Workspace) -> Workspace:
    engines = {
        name: spec.model_copy(update={"prompt_lookup": None})
        for name, spec in work.scenario.real.items()
    }
    scenario = work.scenario.model_copy(update={"engines": {**work.scenario.engines, **engines}})
    return replace(work, scenario=scenario)


def schedules(pipeline: Pipeline, words: str) -> dict[str, Schedule]:
    """Read in full; and written from the beginning, checked when all is read."""
    plain = uniform(pipeline, parse_staircase(words), "rebuild_query_first")
    return {"normal": Schedule(), "final": replace(plain, checked=None)}


def rows(work: Workspace, what: str, words: str, requests: int) -> list[Row]:
    pipeline, forecaster = work.scenario.pipeline.build(), work.profile_forecaster(requests)
    questions = read_dataset(work.scenario, work.source, requests, 0)
    found = []
    with open_engines(work.scenario, is_measured=True) as opened:
        for name, schedule in schedules(pipeline, words).items():
            jobs = [Job(pipeline, schedule, question) for question in questions]
            lines = [outcome.timeline for outcome in opened.runtime.run(jobs)]
            measured = measure_all(lines, work.scenario.plan.reading_rate).summaries()
            found.append(Row(f"{name}{what}", forecaster(schedule).metrics, measured))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=6)
    parser.add_argument("--staircase", default="constant:32,32,16")
    given = parser.parse_args()
    work = Workspace.open(given.scenario, given.folder)
    table = Table("schedule", *FIGURES.values(), title="forecast, measured (error)")
    asked = given.staircase, given.requests
    for row in rows(without_guesses(work), "", *asked) + rows(work, " + guesses", *asked):
        table.add_row(*row.cells())
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
