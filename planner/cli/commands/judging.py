"""The command that has a model compare the answers of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.terminal import (
    AsJson,
    OutFolder,
    ScenarioPath,
    open_workspace,
    print_json,
    progress_bars,
    screen,
)
from staircase.errors import EngineError, ScenarioError

RunPath = Annotated[
    Path, typer.Option(help="Answers, as 'run --save' writes them.", show_default=False)
]


def judge(
    scenario: ScenarioPath,
    baseline: RunPath,
    candidate: RunPath,
    out: OutFolder = None,
    as_json: AsJson = False,
) -> None:
    """Have the scenario's judge compare two runs of the same requests, each pair in both orders."""
    from executor.scoring.judge import Judge
    from planner.evaluation.judging import all_pairings, judge_pairs, read_pairs
    from planner.tables.judge_table import count_lines, rates_table

    work = open_workspace(scenario, out)
    spec = work.scenario.judge
    if spec is None:
        raise ScenarioError(f"{scenario}: judge: is missing; needs a base_url and a model")
    answers = read_pairs(baseline, candidate)
    asked = Judge(spec, work.judgements_path)
    with progress_bars() as track:
        step = track("judge", len(asked.unasked(all_pairings(answers))))
        found = judge_pairs(asked, answers, step)
    if as_json:
        print_json(found.as_json())
    else:
        screen.print(rates_table(found.rates))
        for words in count_lines(found):
            screen.print(words, highlight=False)
        screen.print(f"written: {work.judgements_path}")
    if found.failure:
        raise EngineError(
            f"{found.rates.fates['failed']} calls of the judge failed; run again to make only "
            f"these: {found.failure}"
        )
