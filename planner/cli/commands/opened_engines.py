"""Engines for a command, which says what is odd about their prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from executor.opened_engines import OpenedEngines, open_engines
from planner.cli.terminal import notes
from staircase.spec.scenario import Scenario


@contextmanager
def opened_bench(scenario: Scenario, is_measured: bool = False) -> Iterator[OpenedEngines]:
    """As ``open_engines``."""
    with open_engines(scenario, is_measured) as opened:
        for words in opened.remarks:
            notes.print(words)
        yield opened
