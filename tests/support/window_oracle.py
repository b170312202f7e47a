"""Prompts in which inputs are seen through a window, token by token: slow and obvious."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from simulator.des.simulate import simulate
from staircase import Window
from staircase.errors import WorkloadError
from staircase.messages import Call
from staircase.pipeline import Agent
from staircase.play import CallResult, Play
from tests.support.random_cases import RandomCase

# A text in a prompt: the places of its tokens, or where others say them, how many they are.
Shown = tuple[str, list[int] | int]


class Places:
    """Of the tokens of an input that stand: what is replaced keeps its places, in vain."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.next = 0

    def cut(self, standing: int, written: int) -> None:
        self.kept = [*self.kept, *range(self.next, written)][:standing]
        self.next = written

    def first(self, count: int) -> list[int]:
        return [*self.kept, *range(self.next, self.next + count)][:count]


def through(window: Window, places: list[int]) -> list[int]:
    """Read one by one; as soon as they are too many, the oldest go, so many at a time."""
    seen: list[int] = []
    for place in places:
        seen.append(place)
        if len(seen) > window.tokens:
            del seen[: window.hop]
    return seen


def check_windows(case: RandomCase, seen: Counter[str]) -> None:
    """W1 a prompt shows the end of what was read of an input, as much as the window holds, and all
    else as ever; W2 it never shows more; W3 where it begins never goes back, unless some falls."""
    inputs = {one.name for one in case.pipeline.inputs}

    class Looking(Play):
        def __init__(self, number: int, *arguments: Any) -> None:
            super().__init__(number, *arguments)
            self.texts = {name: Places() for name in inputs}
            self.looked = 0
            self.begins: dict[tuple[str, str], int] = defaultdict(int)

        def on_revised(self, number: int, standing: int, tokens: int, now_ps: int) -> None:
            self.look()
            call = self._open[number].call
            self.texts[call.agent].cut(standing, call.written + tokens)
            self.begins.clear()
            super().on_revised(number, standing, tokens, now_ps)
            self.look()

        def on_end(self, number: int, result: CallResult) -> None:
            self.look()
            super().on_end(number, result)
            self.look()

        def look(self) -> None:
            """At the calls that began since."""
            fixed = case.workload.requests[self.number].fixed_tokens
            for call in self.calls[self.looked :]:
                if call.agent not in inputs:
                    check_call(case, call, self.texts, fixed)
                    self.look_at_begins(call)
            self.looked = len(self.calls)

        def look_at_begins(self, call: Call) -> None:
            window = case.schedule.window
            assert window is not None
            for source, read in zip(case.pipeline[call.agent].reads, call.read, strict=True):
                if source in inputs and read:
                    shown = len(through(window, [*range(read)]))
                    begin, before = read - shown, self.begins[call.agent, source]
                    assert shown <= window.tokens, "W2"
                    assert begin >= before, "W3"
                    seen["dropped"] += begin > 0
                    seen["moved" if begin > before else "stayed"] += 1
                    self.begins[call.agent, source] = begin

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.des.simulate.Play", Looking)
        try:
            simulate(case.pipeline, case.schedule, case.setups, case.workload)
        except WorkloadError:
            return


def check_call(
    case: RandomCase, call: Call, texts: Mapping[str, Places], fixed: Mapping[str, int]
) -> None:
    pieces = [(s.source, place) for s in call.prompt.segments for place in range(s.start, s.stop)]
    for source, wanted in expected(case, call, texts, fixed):
        count = wanted if isinstance(wanted, int) else len(wanted)
        found, pieces = pieces[:count], pieces[count:]
        assert [name for name, _ in found] == [source] * count, "W1"
        if not isinstance(wanted, int):
            assert [place for _, place in found] == wanted, "W1"
    assert not pieces, "W1"


def expected(
    case: RandomCase, call: Call, texts: Mapping[str, Places], fixed: Mapping[str, int]
) -> Iterator[Shown]:
    agent = case.pipeline[call.agent]
    query = (f"query/{agent.name}", fixed.get(f"query/{agent.name}", 0))
    for name in (f"header/{agent.name}", f"nonce/{agent.name}"):
        yield name, fixed.get(name, 0)
    if case.schedule.layout == "rebuild_query_first":
        yield query
    yield from sources(case, call, agent, texts, fixed)
    if case.schedule.layout == "rebuild":
        yield query
    yield f"own/{agent.name}", fixed.get(f"own/{agent.name}", 0)
    yield agent.name, call.standing


def sources(
    case: RandomCase,
    call: Call,
    agent: Agent,
    texts: Mapping[str, Places],
    fixed: Mapping[str, int],
) -> Iterator[Shown]:
    window = case.schedule.window
    assert window is not None
    for source, read in zip(agent.reads, call.read, strict=True):
        if read:
            name = f"label/{agent.name}/{source}"
            yield name, fixed.get(name, 0)
            yield source, through(window, texts[source].first(read)) if source in texts else read
