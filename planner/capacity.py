"""The capacity of a scenario under one schedule, over replicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from simulator.capacity import Capacity, CapacitySearch
from simulator.forecast import forecast_simulated
from staircase.errors import ScenarioError
from staircase.measured import Measured
from staircase.run_metrics import Slo
from staircase.scenario import Scenario
from staircase.schedule import Schedule


def find_capacity(
    scenario: Scenario,
    schedule: Schedule,
    slo: Slo,
    share: float,
    folder: Path = Path(),
    *,
    replicates: int = 1,
    on_trial: Callable[[], None] = lambda: None,
) -> Capacity:
    """The highest rate at which ``share`` of the requests keep ``slo``.

    Raises:
        ScenarioError: the workload has no rate of its own.
    """
    spec = scenario.workload
    if spec is None or spec.rate_per_s is None:
        raise ScenarioError("workload.rate_per_s: needed to search the rate; give where to begin")

    def play(rate: float) -> Sequence[Measured]:
        workload = spec.model_copy(update={"rate_per_s": rate})
        changed = scenario.model_copy(update={"workload": workload})
        return forecast_simulated(changed, schedule, folder, replicates=replicates).runs

    return CapacitySearch(play, slo, share, on_trial).find(spec.rate_per_s)
