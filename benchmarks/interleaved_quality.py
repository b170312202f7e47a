"""Forecast and measured loss when interleaved: ``python -m benchmarks.interleaved_quality``.

Needs the profiles that ``make demo`` writes; plays 12 questions that they were not made of.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from executor.bench import open_bench, read_dataset
from executor.measure_quality import measure_quality
from executor.runtime import Job
from planner.validate import FRESH
from planner.workspace import Workspace
from staircase import uniform
from staircase.schedule import parse_staircase

STAIRCASES = ("constant:4,4,2", "constant:8,16,16", "constant:24,8,8", "constant:48,16,4")


def main() -> None:
    work = Workspace.open(Path("planner/demo.yaml"), None)
    forecaster, pipeline = work.forecaster(), work.scenario.pipeline.build()
    questions = read_dataset(work.scenario, work.source, 12, offset=FRESH)
    table = Table("interleaved", "forecast loss", "measured loss")
    with open_bench(work.scenario) as bench:
        scorer = bench.scorers_of(pipeline)[pipeline.answer]
        for words in STAIRCASES:
            schedule = uniform(pipeline, parse_staircase(words), "interleave")
            outcomes = bench.runtime.run([Job(pipeline, schedule, one) for one in questions])
            losses = [
                measure_quality(pipeline, scorer, outcome, "interleave").loss
                for outcome in outcomes
            ]
            quality = forecaster(schedule).quality
            assert quality is not None
            table.add_row(words, f"{quality.loss.mean:.3f}", f"{mean(losses):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
