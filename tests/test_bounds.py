"""Numbers out of the physical range, keys that stand twice, and names that are paths."""

from __future__ import annotations

import ast
import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from profiles.latency.fit import Fit
from profiles.latency.profile import latency_fault
from simulator.compiled import play as compiled
from simulator.core.cost import cost_of_profile
from simulator.core.cost_bounds import check_tables
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.forecast import forecast_simulated
from simulator.intervals import with_profile_error
from simulator.run import run_workload
from simulator.setups import setup_of
from staircase import RequestShape, Schedule, Workload, single
from staircase.bounds import (
    LAST_PS,
    LEAST_READING_RATE,
    LONGEST_ITERATION_S,
    LONGEST_RUN_S,
    MOST,
    MOST_TOKENS,
)
from staircase.errors import ProfileError, ScenarioError, ScheduleError, WorkloadError
from staircase.metrics.request_metrics import Summary, measure, reader_ps
from staircase.prompt import query
from staircase.schedule import parse_barrier, parse_staircase
from staircase.spec.scenario import load_scenario, load_variants
from staircase.spec.simulated_spec import SimulatedSpec
from staircase.timeline import Timeline, to_ps, to_s
from tests.test_batching import plain_cost
from tests.test_latency_profile import engine

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
HUGE = 10**30


def content(example: str) -> Any:
    return yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text())


def write(folder: Path, scenario: Any) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario))
    return path


def with_value(scenario: Any, keys: str, value: object) -> Any:
    place = scenario
    *before, last = keys.split(".")
    for key in before:
        place = place.setdefault(key, {})
    place[last] = value
    return scenario


ENGINE = "engines.aggregator"
OUT_OF_RANGE = [
    (f"{ENGINE}.decode_tokens_per_s", 1e-9),
    (f"{ENGINE}.decode_tokens_per_s", 1e-5),
    (f"{ENGINE}.prefill_tokens_per_s", 1e-12),
    (f"{ENGINE}.prefill_tokens_per_s", 0.1),
    (f"{ENGINE}.sequence_s", 0.02),
    (f"{ENGINE}.sequence_s", 1.0),
    (f"{ENGINE}.sequence_s", 20),
    (f"{ENGINE}.sequence_s", math.nan),
    (f"{ENGINE}.context_s", 1e7),
    (f"{ENGINE}.call_s", 1e9),
    (f"{ENGINE}.call_s", math.inf),
    (f"{ENGINE}.kv_blocks", 99999999999999),
    (f"{ENGINE}.replicas", HUGE),
    (f"{ENGINE}.max_num_seqs", HUGE),
    (f"{ENGINE}.max_num_batched_tokens", 2**40),
    (f"{ENGINE}.block_tokens", HUGE),
    (f"{ENGINE}.priorities", {"aggregator": HUGE}),
    (f"{ENGINE}.spread", 1e3),
    ("workload.concurrency", 2147483648),
    ("workload.requests", 999999999999),
    ("workload.seed", -1),
    ("workload.rate_per_s", 1e-300),
    ("workload.burstiness", math.inf),
    ("workload.query_tokens", HUGE),
    ("workload.output_tokens.aggregator", {"mean": 1e12, "sigma": 1.0}),
    ("plan.seed", -1),
    ("plan.seed", 2**32),
    ("plan.trials", HUGE),
    ("plan.first", [HUGE]),
    ("plan.ratio", [math.inf]),
    ("plan.reading_rate", math.inf),
    ("plan.reading_rate", 1.09),
    ("plan.capacity_share", 1e-3),
    ("plan.prices", {"aggregator": {"hour": 1e300}}),
    ("plan.limits", {"ttft": math.nan}),
    ("plan.limits", {"ttft": 1e300}),
    ("plan.barrier", ["grace:1,nan"]),
    ("plan.robust", {"seeds": HUGE}),
    ("pipeline.agents", {"aggregator": {"max_tokens": HUGE}}),
    ("requests.count", HUGE),
    ("requests.retries", HUGE),
    ("profile.budget_s", math.inf),
]


@pytest.mark.parametrize(("keys", "value"), OUT_OF_RANGE)
def test_a_number_out_of_range_names_file_and_key(tmp_path: Path, keys: str, value: object) -> None:
    path = write(tmp_path, with_value(content("paper_moa"), keys, value))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert "\n" not in told
    assert keys.rsplit(".", 1)[-1] in told


def test_endpoints_have_bounds_too(tmp_path: Path) -> None:
    for key, value in {"ttft_s": 1e9, "itl_s": math.inf, "spread": 1e3, "seed": -1}.items():
        path = write(tmp_path, with_value(content("endpoints"), f"engines.small.{key}", value))
        with pytest.raises(ScenarioError, match=rf"engines\.small\.endpoint\.{key}: "):
            load_scenario(path)


@pytest.mark.parametrize(
    "word",
    [
        "constant:99999999999999999999,1,1",
        "constant:1,99999999999999999999,1",
        "geometric:4,inf,64,8",
        "geometric:4,nan,64,8",
        "geometric:4,2,99999999999999999999,8",
        "steps:4/99999999999999999999",
        f"constant:{'9' * 5000},1,1",
    ],
)
def test_staircases_out_of_range_are_told(word: str) -> None:
    with pytest.raises(ScheduleError):
        parse_staircase(word)


@pytest.mark.parametrize("word", ["grace:1,nan", "grace:1,inf", "grace:1,1e9", f"quorum:{HUGE}"])
def test_barriers_out_of_range_are_told(word: str) -> None:
    with pytest.raises(ScheduleError, match="barrier"):
        parse_barrier(word)


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf, 1e9])
def test_no_table_has_times_that_cannot_be(factor: float) -> None:
    profile = engine()
    cost = cost_of_profile(profile, max_tokens=64, max_sequences=4)
    check_tables(cost)
    broken = replace(profile, prefill=profile.prefill.scaled(factor))
    with pytest.raises(ProfileError, match=f"must be from 0 to {LONGEST_ITERATION_S:g} s"):
        check_tables(cost_of_profile(broken, max_tokens=64, max_sequences=4))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"prefill": Fit((-1.0,) * 8, 0.0)}, "prefill.coefficients"),
        ({"decode": Fit((1.0, math.nan, 0.0), 0.0)}, "decode.coefficients"),
        ({"decode": Fit((1.0, 0.0), 0.0)}, "decode.coefficients"),
        ({"decode": Fit((1.0, 0.0, 0.0), 0.0, mean_ratio=math.inf)}, "decode.mean_ratio"),
        ({"call_s": -1.0}, "call_s"),
        ({"contention": math.nan}, "contention"),
        ({"mixed_decode": -0.5}, "mixed_decode"),
    ],
)
def test_profiles_with_times_that_cannot_be_are_told(change: dict[str, Any], key: str) -> None:
    assert latency_fault(engine()) is None
    fault = latency_fault(replace(engine(), **change))
    assert fault is not None
    assert fault.startswith(key)


def shapes(count: int, tokens: int) -> list[RequestShape]:
    return [RequestShape({query("model"): 8}, {"model": tokens}, "length")] * count


def slow_setup(**more: Any) -> BatchingSetup:
    """10 s for every token."""
    slow = SimulatedSpec(
        kind="simulated",
        decode_tokens_per_s=0.1,
        prefill_tokens_per_s=1.0,
        max_num_batched_tokens=8,
    )
    setup = setup_of(slow)
    assert isinstance(setup, BatchingSetup)
    return replace(setup, **more)


# With a device of its own it is played as tables, else on SimPy.
@pytest.mark.parametrize("device", [None, "shared"])
class TestRuns:
    def play(self, setup: BatchingSetup, requests: int, tokens: int) -> float:
        workload = Workload(shapes(requests, tokens), MOST)
        pipeline = single(max_tokens=10**7)
        return run_workload(pipeline, Schedule(), {"model": setup}, workload).measured.duration_s

    def test_that_end_in_time_are_played(self, device: str | None) -> None:
        alone = slow_setup(limits=Limits(8, 1), device=device)
        assert 0 < self.play(alone, 2, 40_000) < 1e6

    def test_that_take_too_long_are_refused(self, device: str | None) -> None:
        alone = slow_setup(limits=Limits(8, 1), device=device)
        with pytest.raises(WorkloadError, match=r"the requests take more than 1e\+06 s"):
            self.play(alone, 30, 40_000)

    def test_of_a_call_without_end_are_refused(self, device: str | None) -> None:
        with pytest.raises(WorkloadError, match=r"with 10000008 tokens may take .* at most 1e\+06"):
            self.play(slow_setup(device=device), 1, 10**7)


def test_compiled_play_heeds_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between slices, which are short: nothing is played once Ctrl-C is there."""
    played: list[None] = []

    def interrupted(*_: Any) -> Any:
        played.append(None)
        if len(played) == 2:
            raise KeyboardInterrupt
        return compiled_play(*_)

    compiled_play: Any = vars(compiled)["play"]
    monkeypatch.setattr(compiled, "play", interrupted)
    monkeypatch.setattr(compiled, "SLICE", 16)
    setup = BatchingSetup(plain_cost(), Limits(64, 8))
    with pytest.raises(KeyboardInterrupt):
        run_workload(single(), Schedule(), {"model": setup}, Workload(shapes(200, 4), 8))
    assert len(played) == 2


class TestKeys:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("name: a\nname: b\n", "line 2: 'name' is given twice, first in line 1"),
            ("name: a\nplan:\n  seed: 1\n  seed: 2\n", "line 4: 'seed' is given twice"),
            ("plan: {seed: 1, trials: 3, seed: 2}", "line 1: 'seed' is given twice"),
        ],
    )
    def test_that_stand_twice_are_told(self, tmp_path: Path, text: str, words: str) -> None:
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        with pytest.raises(ScenarioError, match=words):
            load_scenario(path)

    def test_of_a_merge_may_be_given_again(self, tmp_path: Path) -> None:
        """Also where what is merged has merged before."""
        text = (EXAMPLES / "endpoints.yaml").read_text()
        merged = text.replace("large: {<<: *provider", "large: &large {<<: *provider")
        before, _, after = merged.partition("own: {kind")
        path = tmp_path / "scenario.yaml"
        path.write_text(before + "own: {<<: *large, itl_s: 0.03" + after[after.index("}") :])
        found = load_scenario(path).simulated
        assert [vars(found[name])["itl_s"] for name in ("small", "large", "own")] == [
            0.012,
            0.025,
            0.03,
        ]

    @pytest.mark.parametrize(
        "text",
        ["name: 2020-13-45", f"name: {'[' * 3000}", f"a: {'9' * 5000}", "a: \x07", "? [a]\n: 1\n"],
    )
    def test_and_values_that_yaml_cannot_make_are_told(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        with pytest.raises(ScenarioError) as caught:
            load_scenario(path)
        assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "", "a/b", "a\0b", "x" * 300])
def test_names_stay_in_the_results_folder(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, with_value(content("placement"), "name", name))
    with pytest.raises(ScenarioError, match=r"scenario.yaml: name: "):
        load_scenario(path)
    variants = with_value(content("placement"), "variants", {name: {}})
    with pytest.raises(ScenarioError, match=r"scenario.yaml: variants"):
        load_variants(write(tmp_path, variants))


def test_what_a_scenario_allows_at_its_bounds_is_played(tmp_path: Path) -> None:
    """One sequence may take all of an iteration's time: the others then add as much each."""
    scenario = content("paper_moa")
    with_value(scenario, f"{ENGINE}.decode_tokens_per_s", 100)
    with_value(scenario, f"{ENGINE}.sequence_s", 0.01)
    with_value(scenario, "workload.concurrency", MOST)
    with_value(scenario, "workload.requests", 3)
    found = forecast_simulated(load_scenario(write(tmp_path, scenario)), Schedule())
    assert np.isfinite(found.metrics["ttft_s"].mean)
    assert found.metrics["ttft_s"].mean > 0


def test_the_longest_run_is_the_same_in_seconds_and_picoseconds() -> None:
    assert to_ps(LONGEST_RUN_S) == LAST_PS


def test_the_slowest_reader_fits_into_64_bits() -> None:
    """Of the longest text; and where a profile's error makes it slower still."""
    assert MOST_TOKENS * reader_ps(LEAST_READING_RATE) < 2**63
    tokens = 900_000
    ends = tuple(range(1, tokens + 1))
    line = Timeline(0, 0, ends[-1], (), ends, {"model": tokens})
    assert measure(line, LEAST_READING_RATE).smooth_start_s == to_s(1)
    known = {"smooth_start_s": Summary.of(to_s(1)), "stall_s": Summary.of(0.0)}
    found = with_profile_error(known, [line], LEAST_READING_RATE, 0.5)["smooth_start_s"]
    assert 0 < found.high < 1e-11


def literals(source: str) -> Iterator[tuple[str, float]]:
    """Keyword and number of each bound that is written where it is used."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg in ("le", "lt", "ge", "gt", "min", "max"):
            with contextlib.suppress(ValueError):
                yield node.arg, ast.literal_eval(node.value)


@pytest.mark.parametrize("folder", ["staircase", "planner"])
def test_bounds_stand_in_one_file(folder: str) -> None:
    """All but those of shares and counts, from 0 or 1 up to 1."""
    for path in (ROOT / folder).rglob("*.py"):
        found = [bound for bound in literals(path.read_text()) if bound[1] not in (0, 1)]
        assert not found, path
