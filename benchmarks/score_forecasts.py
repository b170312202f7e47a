"""Forecast and measured task score of schedules that the profile has not seen.

``python -m benchmarks.score_forecasts [REQUESTS]``; needs the profiles of ``make demo``. Every
schedule plays questions that the profile was not made of. The score is forecast twice: from the
forecast loss, and from the measured one, which shows what the monotone fit alone costs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from executor.bench import open_bench, read_dataset
from executor.measure_quality import measure_quality
from executor.runtime import Job
from executor.scores import answer_scorer
from planner.validate import FRESH
from planner.workspace import Workspace
from staircase import uniform
from staircase.schedule import LAYOUTS, Layout, parse_staircase

STAIRCASES = (
    "steps:20/500",
    "constant:8,8,6",
    "constant:8,24,16",
    "constant:24,8,8",
    "steps:40/500",
)
POINTS = 0.03
COLUMNS = ("loss", "agreement", "NLL gap", "score", "by forecast loss", "by measured loss")


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    work = Workspace.open(Path("planner/demo.yaml"), None)
    cases: list[tuple[str, Layout]] = [(one, layout) for layout in LAYOUTS for one in STAIRCASES]
    rows = list(measure(work, requests, cases))
    table = Table("schedule", *COLUMNS, title=f"{requests} requests each")
    for (words, layout), row in zip(cases, rows, strict=True):
        table.add_row(f"{words}, {layout}", *(f"{value:.3f}" for value in row))
    Console(width=120).print(table)
    columns = list(zip(*rows, strict=True))
    for place, name in ((4, "forecast"), (5, "measured")):
        near = sum(abs(row[place] - row[3]) <= POINTS for row in rows)
        print(f"by {name} loss: within {POINTS:.0%} in {near} of {len(rows)} schedules")
    for place, name in enumerate(COLUMNS[:3]):
        print(
            f"Spearman of {name} and score: {spearmanr(columns[place], columns[3]).statistic:.2f}"
        )


def measure(
    work: Workspace, requests: int, cases: list[tuple[str, Layout]]
) -> Iterator[tuple[float, ...]]:
    """The columns of each case."""
    forecaster, pipeline = work.forecaster(), work.scenario.pipeline.build()
    fit, score = work.quality().score_fit, answer_scorer(work.scenario.requests, work.source)
    assert fit is not None
    questions = read_dataset(work.scenario, work.source, requests, offset=FRESH)
    with open_bench(work.scenario) as bench:
        scorer = bench.scorers_of(pipeline)[pipeline.answer]
        for words, layout in cases:
            schedule = uniform(pipeline, parse_staircase(words), layout)
            outcomes = bench.runtime.run([Job(pipeline, schedule, one) for one in questions])
            found = [measure_quality(pipeline, scorer, outcome, layout) for outcome in outcomes]
            answers = [outcome.texts[pipeline.answer] for outcome in outcomes]
            scores = [score(*pair) or 0.0 for pair in zip(questions, answers, strict=True)]
            quality = forecaster(schedule).quality
            assert quality is not None
            assert quality.score is not None
            loss = mean(one.loss for one in found)
            yield (
                loss,
                mean(one.agreement for one in found),
                mean(one.nll_gap for one in found),
                mean(scores),
                quality.score.mean,
                fit.for_layout(layout).at(loss),
            )


if __name__ == "__main__":
    main()
