"""The front door, and the command line.

    from planner import plan

What is named here is imported when it is asked for: who only simulates needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.api.explaining import explain, write_report
    from planner.api.judging import judge
    from planner.api.opening import uniform_schedule
    from planner.api.planning import plan
    from planner.api.profiling import profile
    from planner.api.running import Pace, run
    from planner.api.serving import serve
    from planner.api.simulating import capacity, compare, simulate
    from planner.api.tuning import tune
    from planner.api.validating import validate
    from planner.api.variants import plan_variants
    from planner.figures.describing import describe_schedule
    from planner.progress import Progress
    from planner.results.plans import Candidate, Plan, load_plan
    from staircase.spec.scenario import load_scenario

__all__ = [
    "Candidate",
    "Pace",
    "Plan",
    "Progress",
    "capacity",
    "compare",
    "describe_schedule",
    "explain",
    "judge",
    "load_plan",
    "load_scenario",
    "plan",
    "plan_variants",
    "profile",
    "run",
    "serve",
    "simulate",
    "tune",
    "uniform_schedule",
    "validate",
    "write_report",
]

_PLACES = {
    "planner.api.explaining": ("explain", "write_report"),
    "planner.api.opening": ("uniform_schedule",),
    "planner.api.judging": ("judge",),
    "planner.api.planning": ("plan",),
    "planner.api.profiling": ("profile",),
    "planner.api.running": ("Pace", "run"),
    "planner.api.serving": ("serve",),
    "planner.api.simulating": ("capacity", "compare", "simulate"),
    "planner.api.tuning": ("tune",),
    "planner.api.validating": ("validate",),
    "planner.api.variants": ("plan_variants",),
    "planner.figures.describing": ("describe_schedule",),
    "planner.progress": ("Progress",),
    "planner.results.plans": ("Candidate", "Plan", "load_plan"),
    "staircase.spec.scenario": ("load_scenario",),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PLACE_OF:
        return getattr(import_module(_PLACE_OF[name]), name)
    raise AttributeError(f"module 'planner' has no attribute {name!r}")
