"""The command that has a model compare the answers of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.terminal import (
    AsJson,
    OutFolder,
    ScenarioPath,
    on_terminal,
    open_workspace,
    print_json,
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
    from planner.api.judging import judged_of
    from planner.tables.judge_table import count_lines, rates_table

    work = open_workspace(scenario, out)
    if work.scenario.judge is None:
        raise ScenarioError(f"{scenario}: judge: is missing; needs a base_url and a model")
    found = judged_of(work, baseline, candidate, on_terminal())
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
