"""The search space: from an Optuna trial to a schedule, every trial valid by construction."""

from __future__ import annotations

from typing import Any, cast

import optuna

from staircase.pipeline import Pipeline
from staircase.scenario import PlanSpec
from staircase.schedule import Layout, Schedule, Staircase, constant, geometric, normal, uniform


def suggest_schedule(trial: optuna.Trial, pipeline: Pipeline, spec: PlanSpec) -> Schedule:
    """Families and layouts; the same staircase for every reading agent."""
    layout = trial.suggest_categorical("layout", spec.layouts)
    return uniform(pipeline, _suggest_staircase(trial, spec), cast(Layout, layout))


def _suggest_staircase(trial: optuna.Trial, spec: PlanSpec) -> Staircase:
    family = trial.suggest_categorical("family", ["normal", "constant", "geometric"])
    if family == "normal":
        return normal()
    first = trial.suggest_categorical("first", spec.first)
    chunk = trial.suggest_categorical("chunk", spec.chunk)
    write = trial.suggest_categorical("write", spec.write)
    if family == "constant":
        return constant(first, chunk, write)
    ratio = trial.suggest_categorical("ratio", spec.ratio)
    return geometric(first, ratio, cap=max(first, chunk), write=write)


def paper_staircase(spec: PlanSpec) -> Staircase:
    paper = spec.paper_default
    return constant(paper.first, paper.chunk, paper.write)


def baseline_parameters(spec: PlanSpec) -> list[dict[str, Any]]:
    """Trials that every study begins with: ``normal`` and the paper's default in each layout.

    The paper's default is enqueued where its sizes are in the space.
    """
    layouts = [{"layout": layout} for layout in spec.layouts]
    trials: list[dict[str, Any]] = [layout | {"family": "normal"} for layout in layouts]
    paper = spec.paper_default
    if paper.first in spec.first and paper.chunk in spec.chunk and paper.write in spec.write:
        sizes = {"family": "constant", **paper.model_dump()}
        trials += [layout | sizes for layout in layouts]
    return trials
