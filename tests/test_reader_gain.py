"""What is said of a reader's gain, of what bounds it, and of limits as measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from planner.figures.number_format import with_interval
from planner.figures.objectives import parse_limits
from planner.results.measured_limits import MeasuredLimit, limit_words, measured_limits
from planner.results.reader_gain import ReaderGain, bounds_of
from planner.tables.validation_table import validation_cells
from simulator.analytic.lower_bound import Stage
from simulator.des.serial import SerialSetup
from simulator.engine import EngineSetup
from staircase import RequestShape, Workload, moa
from staircase.metrics.request_metrics import Summary
from staircase.timeline import Span, Timeline
from tests.support.backends import fixed_profile
from tests.support.plans import paper_plan, small_plan, validation_of

MS = 10**9
PIPELINE = moa([["a", "b"]], "z")


def metrics(ttft_s: float, smooth_s: float, e2e_s: float) -> dict[str, Summary]:
    values = {"ttft_s": ttft_s, "smooth_start_s": smooth_s, "e2e_s": e2e_s}
    return {name: Summary.of(value) for name, value in values.items()}


def test_a_gain_is_told_with_its_share() -> None:
    found = ReaderGain.of(5.3, metrics(2.0, 2.0, 2.5), metrics(0.2, 0.5, 2.0), ["a bound"])
    assert found.sentence == (
        "Somebody who reads 5.3 tokens/s can on average start 75% earlier, after 500 ms instead "
        "of 2.00 s, and never waits; the last token comes 20% earlier."
    )


def test_one_early_token_and_a_silence_gain_nothing() -> None:
    found = ReaderGain.of(400, metrics(0.25, 0.25, 0.295), metrics(0.03, 0.25, 0.297), ["why"])
    assert found.sentence == (
        "Somebody who reads 400 tokens/s gains nothing: on average a smooth start after 250 ms "
        "with the choice, 250 ms with normal: why."
    )


def test_what_bounds_a_gain_is_there_when_none_is_measured() -> None:
    """Something was gained by forecast."""
    forecast = ReaderGain.of(5.3, metrics(2.0, 2.0, 2.5), metrics(0.2, 0.5, 2.0), ["a bound"])
    measured = ReaderGain.of(5.3, metrics(2, 2, 2.5), metrics(0.2, 2, 2.0), forecast.bounds)
    assert measured.sentence.endswith("with normal: a bound.")


def span(agent: str, ended_ms: int) -> Span:
    return Span(0, agent, agent, 0, (), 0, 0, 0, MS, ended_ms * MS, 0, 1, 0, 3, "stop")


def played(a_ms: int, b_ms: int, answer_ms: Sequence[int]) -> Timeline:
    spans = (span("a", a_ms), span("b", b_ms), span("z", answer_ms[-1]))
    times = tuple(ms * MS for ms in answer_ms)
    return Timeline(0, 0, times[-1], spans, times, {"a": 3, "b": 3, "z": len(times)})


def stage(*devices: str) -> Stage:
    setups: dict[str, EngineSetup] = {
        name: SerialSetup(fixed_profile(), device)
        for name, device in zip("abz", devices, strict=True)
    }
    return Stage(PIPELINE, setups, Workload([RequestShape({}, {"a": 3, "b": 3, "z": 3})]))


@pytest.mark.parametrize(
    ("line", "devices", "said"),
    [
        (played(90, 100, range(101, 300)), ("0", "0", "1"), []),
        (played(90, 100, range(101, 300)), ("0", "1", "1"), ["shares its device with b"]),
        (played(50, 100, range(101, 300)), ("0", "0", "1"), ["b is the slowest source"]),
        (played(90, 100, [101, 102, 103]), ("0", "0", "1"), ["the answer is short"]),
    ],
)
def test_bounds(line: Timeline, devices: tuple[str, str, str], said: list[str]) -> None:
    found = list(bounds_of(stage(*devices), [line], reading_rate=1000))
    assert len(found) == len(said)
    assert all(words in one for words, one in zip(said, found, strict=True))


def test_limits_are_told_as_measured() -> None:
    rows = {"chosen": {**metrics(1, 2, 3), "agreement": Summary.of(0.9)}}
    limits = parse_limits({"smooth_start": 2.5, "quality": 0.95, "score": 0.5})
    told = [limit_words(one) for one in measured_limits(rows, limits)]
    assert told == [
        "smooth_start.p90 ≤ 2.5, as measured: chosen has 2, kept",
        "quality ≥ 0.95, as measured: chosen has 0.9, broken",
        "score ≥ 0.5, as measured: chosen not measured",
    ]


def test_limits_on_two_statistics_of_a_metric_are_two() -> None:
    rows = {"chosen": {"ttft_s": Summary(1.0, 0.9, 1.1, 1.0, 3.0, 4.0)}}
    limits = parse_limits({"ttft.p90": 2.0, "ttft.mean": 2.0})
    told = [limit_words(one) for one in measured_limits(rows, limits)]
    assert told == [
        "ttft.p90 ≤ 2, as measured: chosen has 3, broken",
        "ttft.mean ≤ 2, as measured: chosen has 1, kept",
    ]


def test_what_is_undefined_was_not_measured() -> None:
    rows = {"chosen": {"tpot_s": Summary.of(math.nan)}}
    (told,) = measured_limits(rows, parse_limits({"tpot": 1.0}))
    assert (told.value, told.verdict) == (None, "not measured")


@pytest.mark.parametrize(
    ("known", "word"),
    [([True, True], "kept"), ([True, None], "unknown"), ([None, False], "broken")],
)
def test_the_table_says_kept_only_of_what_was_measured(known: list[bool | None], word: str) -> None:
    checked = validation_of(paper_plan())
    told = tuple(MeasuredLimit("chosen", "a limit", 1.0, is_kept) for is_kept in known)
    cells = validation_cells(replace(checked, limits=told))
    found = [row.cells[-1] for row in cells.rows if (row.name, row.kind) == ("chosen", "measured")]
    assert found == [word]


def test_a_validation_tells_of_every_limit() -> None:
    checked = validation_of(small_plan(slo={"smooth_start": 4.0}), factor=100)
    cells = validation_cells(checked)
    assert cells.columns[-1] == "limits"
    told = {(row.name, row.kind): row.cells[-1] for row in cells.rows}
    assert told["chosen", "measured"] == "broken"
    assert told["chosen", "forecast"] == ""
    broken = [one.limit for one in checked.limits if one.name == "chosen" and not one.is_kept]
    assert "smooth_start.p90 ≤ 4" in broken


@pytest.mark.parametrize(
    ("ends", "said"), [((0.9, 1.1), "1.00 ±0.100"), ((0.95, 1.2), "1.00 (0.950–1.20)")]
)
def test_an_interval_is_told_by_its_half_only_if_it_has_two(
    ends: tuple[float, float], said: str
) -> None:
    assert with_interval(1.0, *ends) == said
