"""Tuning on engines whose clock is virtual and whose true speeds are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from executor.inprocess.device import Device
from executor.line_log import ItemLog, LineLog
from executor.opened_engines import OpenedEngines
from executor.runtime import Runtime, ServedModel
from executor.tokens.rendering import PromptFormat, fixed_texts
from planner.evaluation.validate import question_at
from planner.results.plans import Plan
from planner.search.search import search
from planner.tables.tune_table import round_table
from planner.tuning.pace import Reference
from planner.tuning.run_log import PlayedRun
from planner.tuning.tune import Tuner
from planner.tuning.tuning_rounds import Tuned, TuningEffort
from profiles.latency.profile import (
    DecodePoint,
    EngineProfile,
    LatencyProfile,
    PrefillPoint,
    fit_engine,
    load_latency,
    save_latency,
)
from profiles.latency.tuning import OUTLIER, Correction, fit_seconds
from profiles.store import provenance_of_now
from simulator.profile_forecaster import ProfileForecaster
from staircase.spec.scenario import Scenario
from staircase.workload import RequestShape, Workload
from tests.support.virtual_engine import Nature, VirtualClock, VirtualEngine

# Nothing is common to the prompts of two requests.
FORM = PromptFormat(header="", query="{query}", label="l:{source}", own="a:")
QUESTIONS = 40
WRITTEN = {"a": 60, "b": 40, "z": 30}


def prefill_s(new: int, cached: int) -> float:
    return 0.002 + 3e-5 * new + 1e-6 * cached


def decode_s(batch: int, context: int) -> float:
    return 0.001 + 1e-6 * context


def measured_profile() -> EngineProfile:
    prefill = [
        PrefillPoint(n, k, prefill_s(n, k), 0.0, 1.0)
        for n in (1, 16, 64, 200, 400)
        for k in (0, 99)
    ]
    decode = [DecodePoint(1, c, decode_s(1, c), 0.0, 1.0) for c in (16, 100, 200, 400)]
    return replace(fit_engine(prefill, decode, 2e-4), contention=1.1)


@dataclass
class Truth:
    """How much slower than measured, and what the machine is doing."""

    prefill: float = 1.0
    decode: float = 1.0
    contention: float = 1.1
    call_s: float = 2e-4
    pace: Callable[[float], float] = lambda now_s: 1.0


def scenario(folder: Path) -> Scenario:
    asked = [{"query": f"{chr(65 + number)}: how so?"} for number in range(QUESTIONS)]
    (folder / "asked.jsonl").write_text("\n".join(map(json.dumps, asked)))
    return Scenario.model_validate(
        {
            "name": "virtual",
            "pipeline": {
                "moa": {"layers": [["a", "b"]], "answer": "z"},
                "agents": {name: {"max_tokens": count} for name, count in WRITTEN.items()},
            },
            "engines": {name: {"model": "embedded"} for name in WRITTEN},
            "requests": {"dataset": "asked.jsonl"},
            "plan": {"trials": 8, "layouts": ["append_rounds"], "max_unread": 1.0},
        }
    )


@contextmanager
def bench_of(truth: Truth) -> Iterator[OpenedEngines]:
    clock, engines = VirtualClock(), dict[str, VirtualEngine]()

    def factor(name: str) -> float:
        # A request begins in another thread: all its calls are there at the same virtual time.
        with runtime._changed:
            coming = bool(device._errands)
        others = any(one.has_work for other, one in engines.items() if other != name)
        return truth.pace(clock.now_s) * (truth.contention if others or coming else 1.0)

    with Device() as device:
        for name in WRITTEN:
            nature = Nature(
                lambda new, cached: truth.prefill * prefill_s(new, cached),
                lambda batch, context: truth.decode * decode_s(batch, context),
                lambda name=name: factor(name),  # type: ignore[misc]
                truth.call_s,
            )
            engines[name] = VirtualEngine(device, clock, nature)
        served = {name: ServedModel(engine, FORM) for name, engine in engines.items()}
        runtime = Runtime(served, clock.now_ns)
        yield OpenedEngines({}, engines, {}, {}, runtime)


def run_log(path: Path, key: str) -> ItemLog[PlayedRun]:
    return ItemLog(LineLog(path, [key]), key, PlayedRun)


def tuner(
    folder: Path, opened: OpenedEngines, effort: TuningEffort, has_reference: bool = True
) -> Tuner:
    spec = scenario(folder)
    pipeline, profile = spec.pipeline.build(), measured_profile()
    fixed = {
        name: len(text)
        for agent in pipeline
        for name, text in fixed_texts(agent, "A: how so?", FORM).items()
    }
    base = LatencyProfile(dict.fromkeys(WRITTEN, profile), provenance_of_now())
    # Many: the first one has other turns, as no other was before it.
    workload = Workload([RequestShape(fixed, WRITTEN)] * 20)
    forecaster = ProfileForecaster(pipeline, base, None, spec.real, workload)
    prompts = [[7] * 24, [8] * 24]
    return Tuner(
        spec,
        folder,
        opened,
        forecaster,
        "base",
        lambda latency: search(spec, replace(forecaster, latency=latency), {}),
        Reference(opened.engines["z"], profile, prompts) if has_reference else None,
        run_log(folder / "runs.jsonl", "key"),
        effort,
    )


def tuned(folder: Path, truth: Truth, has_reference: bool = True, **effort: float) -> Tuned:
    with bench_of(truth) as opened:
        whole = TuningEffort(requests=4, front=2, **effort)  # type: ignore[arg-type]
        return tuner(folder, opened, whole, has_reference).run()


def errors(found: Tuned) -> list[tuple[float, float, float]]:
    evaluated = [one.evaluated for one in found.rounds]
    return [(one.untuned, one.tuned, one.at_pace) for one in evaluated]


def test_known_factors_are_recovered_and_the_error_vanishes(tmp_path: Path) -> None:
    truth = Truth(prefill=1.6, decode=0.7, contention=1.4, call_s=1.5e-3)
    found = tuned(tmp_path, truth, has_reference=False)
    (untuned, _, _), (still, judged, _) = errors(found)
    assert untuned > 0.1
    assert still > 0.1
    assert judged < 0.01
    assert str(round_table(found.rounds[0]).title).startswith("Round 1: TTFT in ms over 4 fresh")
    assert found.verdict == "agreed"
    assert found.latency.tuning
    for correction in found.latency.tuning.corrections.values():
        assert correction.prefill == pytest.approx(1.6, rel=0.02)
        assert correction.decode == pytest.approx(0.7, rel=0.02)
        assert correction.contention == pytest.approx(1.4, rel=0.02)
        assert correction.call_s == pytest.approx(1.5e-3, rel=0.1)


def test_a_machine_that_slows_down_between_rounds_is_told_apart(tmp_path: Path) -> None:
    truth = Truth(prefill=1.5, pace=lambda _: 1.0 if len(searches) < 2 else 1.7)
    # The second round's search is the moment.
    searches: list[None] = []
    with bench_of(truth) as opened:
        one = tuner(tmp_path, opened, TuningEffort(requests=4, front=2), has_reference=True)
        search_again = one.search

        def noted(latency: LatencyProfile) -> Plan:
            searches.append(None)
            return search_again(latency)

        one.search = noted
        found = one.run()
    (_, _, first), (_, as_forecast, at_pace) = errors(found)
    paces = [one.evaluated.pace for one in found.rounds]
    assert paces[1] > 1.3 * paces[0]
    assert first > 0.05
    assert as_forecast > 0.2
    assert at_pace < 0.02
    assert found.latency.tuning
    assert found.latency.tuning.pace == paces[1]


def test_a_profile_that_is_right_is_left(tmp_path: Path) -> None:
    found = tuned(tmp_path, Truth())
    assert found.verdict == "agreed"
    assert len(found.rounds) == 1
    assert found.rounds[0].evaluated.at_pace < 0.01
    for name, profile in found.latency.engines.items():
        correction = found.latency.tuning.corrections[name]  # type: ignore[union-attr]
        assert correction == Correction(1.0, 1.0, 1.1, 2e-4)
        assert profile.decode_s(1, 100) == pytest.approx(decode_s(1, 100), rel=0.01)


def test_a_budget_ends_it(tmp_path: Path) -> None:
    truth = Truth(decode=3.0)
    assert tuned(tmp_path, truth, has_reference=False, budget_s=1e-3).verdict == "budget used"
    found = tuned(tmp_path, truth, has_reference=False, rounds=1)
    assert found.verdict == "rounds used"
    # Fitted, though nobody has judged it.
    assert found.latency.tuning
    assert found.latency.tuning.fitted_on == (1,)
    assert found.latency["a"].decode_s(1, 100) == pytest.approx(3 * decode_s(1, 100), rel=0.02)


class Interrupted(ItemLog[PlayedRun]):
    """Ctrl-C when there are ``most`` runs."""

    most = 0

    def add(self, name: str, item: PlayedRun) -> None:
        if len(self) == self.most:
            raise KeyboardInterrupt
        super().add(name, item)


@pytest.mark.slow
def test_an_interrupted_tuning_goes_on(tmp_path: Path) -> None:
    truth = Truth(prefill=1.6, decode=0.7)
    (tmp_path / "whole").mkdir()
    whole = tuned(tmp_path / "whole", truth)
    for most in (9, 25):
        with bench_of(truth) as opened:
            one = tuner(tmp_path, opened, TuningEffort(requests=4, front=2))
            lines = LineLog(tmp_path / "runs.jsonl", ["key"])
            one.log = Interrupted(lines, "key", PlayedRun)
            one.log.most = most
            with pytest.raises(KeyboardInterrupt):
                one.run()
    with bench_of(truth) as opened:
        one = tuner(tmp_path, opened, TuningEffort(requests=4, front=2))
        assert len(one.log) == 25
        again = one.run()
    names = [[row.name for row in one.rows] for one in again.rounds]
    assert names == [[row.name for row in one.rows] for one in whole.rounds]
    assert len(one.log) == sum(4 * len(rows) for rows in names)
    for mine, theirs in zip(errors(again), errors(whole), strict=True):
        assert mine == pytest.approx(theirs, abs=0.01)


def test_half_a_line_is_dropped_and_another_key_left_out(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    with bench_of(Truth()) as opened:
        tuner(tmp_path, opened, TuningEffort(requests=3, front=0)).run()
    count = len(run_log(path, "key"))
    text = path.read_text()
    path.write_text(text[:-20])
    assert len(run_log(path, "key")) == count - 1
    assert not len(run_log(path, "other"))
    assert len(run_log(path, "key")) == count - 1


def test_a_tuned_profile_is_an_ordinary_one(tmp_path: Path) -> None:
    found = tuned(tmp_path, Truth(prefill=1.6))
    path = tmp_path / "latency.tuned.json"
    save_latency(path, found.latency)
    assert load_latency(path) == found.latency
    document = json.loads(path.read_text())
    assert document["content"]["tuning"]["base"] == "base"


@given(st.integers(1, 12), st.integers(1, 12), st.integers(3, 12))
def test_no_question_is_played_twice_in_a_row(turns: int, places: int, requests: int) -> None:
    asked = [
        question_at(turn, place, places, requests)
        for turn in range(turns)
        for place in range(places)
    ]
    assert all(one != other for one, other in pairwise(asked))
    for place in range(places):
        own = {question_at(turn, place, places, requests) for turn in range(requests)}
        assert len(own) == requests


values = st.floats(0.2, 5.0)


@given(
    st.lists(values, min_size=3, max_size=3),
    st.lists(st.lists(values, min_size=3, max_size=3), min_size=8, max_size=20),
)
def test_fit_finds_the_parameters(truth: list[float], rows: list[list[float]]) -> None:
    slopes, start = np.array(rows), np.ones(3)
    forecast, measured = slopes @ start, slopes @ np.array(truth)
    assume(np.linalg.cond(slopes / forecast[:, None]) < 30)
    found = fit_seconds(measured, forecast, slopes, start, np.zeros(3))
    assert found == pytest.approx(truth, rel=0.02)


@given(values, st.lists(values, min_size=11, max_size=20), st.floats(1.5, 100.0))
def test_a_part_that_is_far_off_pulls_no_further_than_it_may(
    truth: float, seconds: list[float], times: float
) -> None:
    """One of n by at most OUTLIER / (n − 1)."""
    forecast = np.array(seconds)
    measured = truth * forecast
    measured[0] *= times
    found = fit_seconds(measured, forecast, forecast[:, None], np.ones(1), np.zeros(1))
    assert abs(found[0] - truth) <= 1.1 * OUTLIER / (len(seconds) - 1)


@given(st.lists(values, min_size=5, max_size=5), st.floats(0.0, 2.0))
def test_fit_leaves_what_no_part_depends_on_and_keeps_bounds(
    seconds: list[float], start: float
) -> None:
    slopes = np.array([[1.0, 0.0]] * 5)
    forecast = np.full(5, 2.0)
    found = fit_seconds(
        0.1 * np.array(seconds), forecast, slopes, np.array([2.0, start]), np.array([1.5, 0.0])
    )
    assert found[0] >= 1.5
    assert found[1] == pytest.approx(start, abs=1e-6)
