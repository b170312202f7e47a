"""A scenario's real engines, opened for a function of the front door."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from executor.opened_engines import OpenedEngines, open_engines
from planner.progress import Progress
from staircase.spec.scenario import Scenario


@contextmanager
def engines_of(
    scenario: Scenario, progress: Progress, is_measured: bool = False
) -> Iterator[OpenedEngines]:
    """As ``open_engines``; says what is odd about prompts."""
    with open_engines(scenario, is_measured) as opened:
        progress.say(opened.remarks)
        yield opened
