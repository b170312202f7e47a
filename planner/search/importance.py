"""How much each parameter decides of an objective, over the schedules that were simulated.

PED-ANOVA (arXiv 2304.10255) as Optuna has it: how far the values of the parameter among the best
tenth of the schedules differ from those among all. Shares sum to 1; they are equal where nothing
can be told, and 0 of what had one value only.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from planner.figures.objectives import Goals
from planner.results.plans import Candidate
from staircase.schedule import Schedule, Staircase, Step

PARAMETERS = ("layout", "family", "first", "chunk", "write")
# That are told where a search had a choice.
OPTIONS = (
    "barrier",
    "window",
    "at_once",
    "reading",
    "starve",
    "checked",
    "show",
    "revision",
    "without",
)


def importances(
    candidates: Sequence[Candidate], goals: Goals, answer: str
) -> dict[str, dict[str, float]]:
    """By objective and parameter; ``answer`` is the agent whose staircase is looked at."""
    points = [
        {**parameters_of(candidate.schedule, answer), **_options_of(candidate.schedule)}
        for candidate in candidates
    ]
    return {
        objective.name: _shares(points, [objective.cost(c.forecast) for c in candidates])
        for objective in goals.objectives
    }


def parameters_of(schedule: Schedule, agent: str) -> dict[str, Any]:
    """What a schedule has of each parameter; one that reads all first has no sizes."""
    staircase = schedule.staircases.get(agent, Staircase())
    family = family_of(staircase)
    point: dict[str, Any] = {"layout": schedule.layout, "family": family}
    if family == "normal":
        return point
    first, second = staircase.step(0), staircase.step(1)
    sizes = {"first": first.read, "chunk": _more(first, second, staircase), "write": first.write}
    return {**point, **{name: size for name, size in sizes.items() if size is not None}}


def _options_of(schedule: Schedule) -> dict[str, Any]:
    """What holds for all agents, in words."""
    return {name: repr(getattr(schedule, name)) for name in OPTIONS}


def _more(first: Step, second: Step, staircase: Staircase) -> int | None:
    """What a later step reads on: in the long run, or else the second one."""
    if staircase.growth:
        return staircase.growth.read
    return second.read - (first.read or 0) if second.read is not None else None


def family_of(staircase: Staircase) -> str:
    if staircase.is_normal:
        return "normal"
    if len(staircase.steps) == 1 and staircase.growth:
        return "constant"
    return "growing" if staircase.growth else "explicit"


def _shares(points: Sequence[Mapping[str, Any]], costs: Sequence[float]) -> dict[str, float]:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    known: dict[str, Any] = {}
    for name in (*PARAMETERS, *OPTIONS):
        values = sorted({point[name] for point in points if name in point})
        if len(values) > 1:
            known[name] = _distribution(values)
    if not known:
        return dict.fromkeys(PARAMETERS, 0.0)
    study = optuna.create_study()
    for point, cost in zip(points, costs, strict=True):
        own = {name: known[name] for name in point if name in known}
        params = {name: point[name] for name in own}
        study.add_trial(create_trial(params=params, distributions=own, value=cost))
    with warnings.catch_warnings():
        # Of an evaluator that is new, and of few trials.
        warnings.simplefilter("ignore")
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    told = [*PARAMETERS, *(name for name in OPTIONS if name in known)]
    return {name: float(found.get(name, 0.0)) for name in told}


def _distribution(values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(values[0], str):
        return CategoricalDistribution(values)
    return IntDistribution(values[0], values[-1], log=values[0] > 0)
