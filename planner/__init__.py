"""The search, its validation and report, and the command line.

    from planner import plan

What is named here is imported when it is asked for: the search takes a while to import.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.api import plan
    from planner.results.plans import Candidate, Plan, load_plan

__all__ = ["Candidate", "Plan", "load_plan", "plan"]


def __getattr__(name: str) -> Any:
    if name == "plan":
        from planner.api import plan

        return plan
    if name in __all__:
        from planner.results import plans

        return getattr(plans, name)
    raise AttributeError(f"module 'planner' has no attribute {name!r}")
