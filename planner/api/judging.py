"""Judging: what ``staircase judge`` does."""

from __future__ import annotations

from pathlib import Path

from executor.scoring.judge import Judge
from planner.api.opening import AnyScenario, workspace_of
from planner.evaluation.judging import Judgement, all_pairings, judge_pairs, read_pairs
from planner.progress import SILENT, Progress
from planner.workspace import Workspace
from staircase.errors import ScenarioError


def judge(
    scenario: AnyScenario,
    baseline: str | Path,
    candidate: str | Path,
    *,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Judgement:
    """Has the scenario's judge compare two runs of the same requests, each pair in both orders.

    Replies are kept in ``out`` as they come; what is there is not asked again.

    Args:
        baseline, candidate: answers, as ``run`` saves them.
        out: folder of results [default: runs/NAME].

    Returns:
        Win rates with intervals, and what was left out; ``failure`` says why calls failed, if any.

    Raises:
        InputError: the scenario names no judge, or the files are not of the same requests.
        EngineError: the judge's server cannot be used.
    """
    return judged_of(workspace_of(scenario, out), Path(baseline), Path(candidate), progress)


def judged_of(
    work: Workspace, baseline: Path, candidate: Path, progress: Progress = SILENT
) -> Judgement:
    """The same of a workspace."""
    spec = work.scenario.judge
    if spec is None:
        raise ScenarioError("judge: is missing; needs a base_url and a model")
    answers = read_pairs(baseline, candidate)
    asked = Judge(spec, work.judgements_path)
    with progress.tracking() as track:
        step = track("judge", len(asked.unasked(all_pairings(answers))))
        return judge_pairs(asked, answers, step)
