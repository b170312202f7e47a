"""Planning variants: what ``staircase variants`` does.

A variant has other agents, engines or devices that agents share.

Where agents run is not part of a schedule, so it is not searched with it: the scenario lists the
possible placements, and each gets a search of its own. The fronts of all make a common
one. What is unread, and what that costs, is relative to what a pipeline could read, so it can only
be compared between pipelines of the same agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from planner.api.opening import check_count, workspace_of
from planner.api.planning import plan_of
from planner.figures.front import front_of
from planner.figures.objectives import Goals, Objective, parse_objectives
from planner.progress import SILENT, Progress
from planner.results.plans import Candidate, Plan
from planner.workspace import Workspace
from staircase.errors import PlanError
from staircase.spec.scenario import load_variants

# Figures that are relative to what a pipeline could read.
RELATIVE = ("unread", "loss", "quality")


@dataclass(frozen=True)
class Member:
    """One schedule of the common front, and its variant."""

    variant: str
    candidate: Candidate


@dataclass(frozen=True)
class PlannedVariants:
    """Plans by variant, and what no schedule of any variant beats."""

    plans: Mapping[str, Plan]
    front: tuple[Member, ...]


def plan_variants(
    scenario: str | Path,
    *,
    trials: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    workers: int = 1,
    progress: Progress = SILENT,
) -> PlannedVariants:
    """Plans each variant of a scenario file; the plans are kept in ``variants/NAME`` of ``out``.

    Args:
        trials: schedules to try of each.
        out: folder of results [default: runs/NAME].
        workers: processes that simulate, on this machine.

    Raises:
        InputError: the scenario is wrong or has no variants, none of a variant's schedules is
            within its limits, or its objectives cannot be compared with those of the others.
    """
    check_count("workers", workers)
    spaces = variant_spaces(Path(scenario), workspace_of(scenario, out))
    given = {"trials": trials, "seed": seed}
    changes = {key: value for key, value in given.items() if value is not None}
    changed = {name: work.with_plan(changes) for name, work in spaces.items()}
    return plans_of(changed, workers, progress)


def variant_spaces(path: Path, work: Workspace) -> dict[str, Workspace]:
    """The variants of the scenario in ``path`` by name, each with a folder in that of ``work``.

    Raises:
        ScenarioError: there is none, or one is wrong.
    """
    return {
        name: replace(work, scenario=one, folder=work.folder / "variants" / name)
        for name, one in load_variants(path).items()
    }


def plans_of(
    spaces: Mapping[str, Workspace], workers: int = 1, progress: Progress = SILENT
) -> PlannedVariants:
    """The same of workspaces."""
    forecasters = {name: work.forecaster() for name, work in spaces.items()}
    objectives = {
        name: Goals.of(work.scenario.plan, one.knows_quality, bool(one.pipeline.inputs)).objectives
        for (name, work), one in zip(spaces.items(), forecasters.values(), strict=True)
    }
    _check_objectives(objectives)
    _check_agents(spaces, next(iter(objectives.values())))
    found: dict[str, Plan] = {}
    with progress.tracking() as track:
        for name, work in spaces.items():
            try:
                found[name] = plan_of(
                    work,
                    forecasters[name],
                    workers=workers,
                    what=f"search: {name}",
                    progress=progress.within(track),
                )
            except PlanError as error:
                raise PlanError(f"variants.{name}: {error}") from None
    return PlannedVariants(found, common_front(found))


def _check_objectives(objectives: Mapping[str, Sequence[Objective]]) -> None:
    words = {name: ", ".join(one.name for one in some) for name, some in objectives.items()}
    first, *others = words.items()
    for name, own in others:
        if own != first[1]:
            raise PlanError(
                f"variants.{name}: its objectives are {own}, those of {first[0]!r} {first[1]}; "
                "must be the same to be compared"
            )


def _check_agents(spaces: Mapping[str, Workspace], objectives: Sequence[Objective]) -> None:
    relative = [one.name for one in objectives if one.word in RELATIVE]
    agents = {
        name: {agent.name: agent.reads for agent in work.scenario.pipeline.build()}
        for name, work in spaces.items()
    }
    first, *others = agents.items()
    for name, own in others:
        if relative and own != first[1]:
            raise PlanError(
                f"variants.{name}: its agents are not those of {first[0]!r}, so {relative[0]} says "
                "something else there; give plan.objectives without it, or leave proposers out by "
                "plan.leave_out"
            )


def common_front(plans: Mapping[str, Plan]) -> tuple[Member, ...]:
    """What no schedule of any variant beats, by the first objective."""
    goals = Goals(parse_objectives(next(iter(plans.values())).objectives))
    members = [Member(name, one) for name, plan in plans.items() for one in plan.front_candidates]
    costs = [goals.costs(member.candidate.forecast) for member in members]
    return tuple(members[number] for number in front_of(costs))
