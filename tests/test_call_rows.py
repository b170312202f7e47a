"""Tables of calls made of lengths alone: those that the conductor makes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from simulator.compiled import workload_tables
from simulator.compiled.call_rows import has_rows, tables_of_lengths
from simulator.compiled.call_tables import ROW, CallTables, TableBuilder, TextNumbers
from simulator.compiled.play import play_compiled
from simulator.compiled.workload_tables import tables_of
from simulator.core.content import NOTHING_MORE
from staircase import Workload
from tests.support.random_cases import RandomCase, random_case

COLUMNS = [name for name in ROW.names or () if "segment" not in name]


@cache
def cases() -> list[RandomCase]:
    drawn = (random_case(seed, False) for seed in range(160))
    return [case for case in drawn if has_rows(case.schedule, case.workload.requests)]


def columns(rows: Any) -> Any:
    return np.asarray([rows[name] for name in COLUMNS])


def prompts(tables: CallTables) -> list[list[tuple[int, int]]]:
    """Of each row, and what it writes: the text and the number of each token."""
    found = []
    for row in tables.rows[:-1]:
        first, own = row["first_segment"], row["own_segment"]
        segments = tables.segments[first : first + row["segments"]].tolist()
        if own != NOTHING_MORE:
            segments += tables.segments[own : own + 2].tolist()
        found.append(
            [(text, token) for text, start, stop in segments for token in range(start, stop)]
        )
    return found


@pytest.mark.parametrize("group", range(2))
def test_they_are_the_conductors(group: int) -> None:
    several = 0
    for case in cases()[group::2]:
        texts = TextNumbers()
        builder = TableBuilder(case.pipeline, case.schedule, texts)
        assert all(builder.add(request) for request in case.workload.requests)
        expected = builder.tables()
        found = tables_of_lengths(case.pipeline, case.schedule, case.workload.requests, texts)
        np.testing.assert_array_equal(found.agent_rows, expected.agent_rows)
        np.testing.assert_array_equal(columns(found.rows), columns(expected.rows))
        assert prompts(found) == prompts(expected)
        without = tables_of_lengths(case.pipeline, case.schedule, case.workload.requests, None)
        np.testing.assert_array_equal(columns(without.rows), columns(expected.rows))
        assert not len(without.segments)
        several += bool(np.any(np.diff(expected.agent_rows) > 3))
    assert several > 1


def test_timelines_are_those_of_the_conductors_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    for case in cases()[:40]:
        played = []
        for many in (1, 1000):
            monkeypatch.setattr(workload_tables, "MANY", many)
            setting = (case.pipeline, case.schedule, case.setups, case.workload)
            played.append(play_compiled(*setting, keeps_all_times=True))
        one, other = played
        if one is not None and other is not None:
            assert one.timelines() == other.timelines()
            compared += 1
    assert compared > 20


def test_equal_requests_share_a_table() -> None:
    case = cases()[0]
    first, *_ = case.workload.requests
    alike = replace(first, fixed_tokens=dict([*first.fixed_tokens.items()][::-1]))
    other = replace(first, ends_with="stop" if first.ends_with == "length" else "length")
    requests = Workload([first, other, alike, first]).requests
    found = tables_of(case.pipeline, case.schedule, requests, TextNumbers())
    assert found is not None
    assert found.numbers.tolist() == [0, 1, 0, 0]
    assert len(found.tables.agent_rows) == 2 * len(case.pipeline.order) + 1
