"""The scenario's variants, planned one after the other and set beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from planner.cli.terminal import (
    AsJson,
    OutFolder,
    ScenarioPath,
    Seed,
    Trials,
    Workers,
    open_workspace,
    print_json,
    progress_bars,
    screen,
    tell,
)

if TYPE_CHECKING:
    from planner.results.plans import Plan
    from planner.variants import Member
    from planner.workspace import Workspace

# So many of the common front are shown.
MOST_SHOWN = 12


def variants(
    scenario: ScenarioPath,
    out: OutFolder = None,
    trials: Trials = None,
    seed: Seed = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Plan each variant of a scenario: other placements, replicas, proposers."""
    from planner.api.planning import Watcher
    from planner.variants import common_front, plan_variants, variant_spaces

    changes = {"trials": trials, "seed": seed}
    given = {key: value for key, value in changes.items() if value is not None}
    base = open_workspace(scenario, out)
    spaces = {name: work.with_plan(given) for name, work in variant_spaces(scenario, base).items()}
    with progress_bars() as track:

        def watch(name: str, count: int) -> Watcher:
            return Watcher(tried=track(f"search: {name}", count), said=tell)

        plans = plan_variants(spaces, watch, workers)
    front = common_front(plans)
    if as_json:
        print_json(_content(spaces, plans, front))
        return
    _show(plans, front)
    for path in (work.report_path for work in spaces.values()):
        if path.is_file():
            screen.print(f"written: {path}")


def _content(
    spaces: Mapping[str, Workspace], plans: Mapping[str, Plan], front: Sequence[Member]
) -> dict[str, Any]:
    return {
        "variants": {
            name: {"plan": str(spaces[name].plan_path), "chosen": asdict(plan.named()["chosen"])}
            for name, plan in plans.items()
        },
        "front": [asdict(member) for member in front],
    }


def _show(plans: Mapping[str, Plan], front: Sequence[Member]) -> None:
    from planner.results.plans import spread_out
    from planner.tables.variants_table import variants_table
    from planner.variants import Member

    objectives = next(iter(plans.values())).objectives
    chosen = [Member(name, plan.named()["chosen"]) for name, plan in plans.items()]
    screen.print(variants_table(chosen, objectives, "The choice of each variant"))
    shown = [front[number] for number in spread_out(range(len(front)), MOST_SHOWN)]
    title = f"Common front, {len(shown)} of {len(front)}"
    screen.print(variants_table(shown, objectives, title))
    for name in plans:
        own = sum(member.variant == name for member in front)
        screen.print(f"{name}: {own} of {len(front)} on the common front", highlight=False)
