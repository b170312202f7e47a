"""A candidate as a trial of Optuna, for people to look at and to have it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from pydantic import TypeAdapter

from planner.figures.describing import describe_schedule
from planner.figures.objectives import Goals
from planner.results.plans import Candidate
from staircase.schedule import LAYOUTS, Schedule

_CANDIDATE = TypeAdapter(Candidate)
# The name under which a trial keeps its candidate.
KEPT = "candidate"
TOKENS = IntDistribution(0, 1 << 20)


def candidate_of(trial: FrozenTrial) -> Candidate:
    return _CANDIDATE.validate_python(trial.user_attrs[KEPT])


def trial_of(candidate: Candidate, goals: Goals) -> FrozenTrial:
    """As people see it in the dashboard, with all that it takes to have the candidate again."""
    excess = {str(limit): limit.excess(candidate.forecast) for limit in goals.limits}
    costs = zip(goals.objectives, goals.costs(candidate.forecast), strict=True)
    parameters = dict(_parameters(candidate.schedule))
    return create_trial(
        values=[-cost if objective.is_gain else cost for objective, cost in costs],
        params={name: value for name, (value, _) in parameters.items()},
        distributions={name: kind for name, (_, kind) in parameters.items()},
        user_attrs={
            "schedule": describe_schedule(candidate.schedule),
            KEPT: _CANDIDATE.dump_python(candidate, mode="json"),
        },
        constraints=excess,
        # Where optuna-dashboard looks for them.
        system_attrs={"constraints": list(excess.values())},
    )


def _parameters(schedule: Schedule) -> Iterator[tuple[str, tuple[Any, BaseDistribution]]]:
    """The layout, and of each staircase what its first two steps read and write."""
    yield "layout", (schedule.layout, CategoricalDistribution(LAYOUTS))
    for agent, staircase in schedule.staircases.items():
        first, then = staircase.step(0), staircase.step(1)
        if first.read is not None:
            yield f"{agent}: read", (first.read, TOKENS)
        if first.write is not None:
            yield f"{agent}: write", (first.write, TOKENS)
        if first.read is not None and then.read is not None:
            yield f"{agent}: then read", (then.read - first.read, TOKENS)
        if then.write is not None:
            yield f"{agent}: then write", (then.write, TOKENS)
