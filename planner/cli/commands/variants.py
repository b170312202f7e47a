"""The scenario's variants, planned one after the other and set beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from planner.cli.terminal import (
    AsJson,
    OutFolder,
    ScenarioPath,
    Seed,
    Trials,
    Workers,
    on_terminal,
    open_workspace,
    print_json,
    screen,
)

if TYPE_CHECKING:
    from planner.api.variants import PlannedVariants
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
    from planner.api.variants import plan_variants, variant_spaces

    found = plan_variants(
        scenario, trials=trials, seed=seed, out=out, workers=workers, progress=on_terminal()
    )
    spaces = variant_spaces(scenario, open_workspace(scenario, out))
    if as_json:
        print_json(_content(spaces, found))
        return
    _show(found)
    for path in (work.report_path for work in spaces.values()):
        if path.is_file():
            screen.print(f"written: {path}")


def _content(spaces: Mapping[str, Workspace], found: PlannedVariants) -> dict[str, Any]:
    return {
        "variants": {
            name: {"plan": str(spaces[name].plan_path), "chosen": asdict(plan.named()["chosen"])}
            for name, plan in found.plans.items()
        },
        "front": [asdict(member) for member in found.front],
    }


def _show(found: PlannedVariants) -> None:
    from planner.api.variants import Member
    from planner.results.plans import spread_out
    from planner.tables.variants_table import variants_table

    plans, front = found.plans, found.front
    objectives = next(iter(plans.values())).objectives
    chosen = [Member(name, plan.named()["chosen"]) for name, plan in plans.items()]
    screen.print(variants_table(chosen, objectives, "The choice of each variant"))
    shown = [front[number] for number in spread_out(range(len(front)), MOST_SHOWN)]
    title = f"Common front, {len(shown)} of {len(front)}"
    screen.print(variants_table(shown, objectives, title))
    for name in plans:
        own = sum(member.variant == name for member in front)
        screen.print(f"{name}: {own} of {len(front)} on the common front", highlight=False)
