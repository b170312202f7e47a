"""Engines for a command, which says what is odd about their prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from executor.opened_engines import Bench, open_bench
from planner.cli.terminal import notes
from staircase.spec.scenario import Scenario


@contextmanager
def opened_bench(scenario: Scenario, is_measured: bool = False) -> Iterator[Bench]:
    """As ``open_bench``."""
    with open_bench(scenario, is_measured) as bench:
        for words in bench.remarks:
            notes.print(words)
        yield bench
