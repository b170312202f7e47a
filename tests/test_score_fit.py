"""The fit of the task's score to the loss, and the pairs that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.line_log import ItemLog, LineLog
from executor.measure.measure_played import (
    PlayedFigures,
    ScheduleProbe,
    probe_schedules,
    probes_in,
)
from executor.measure.measure_surfaces import ROUND_COUNTS, measure_sample
from executor.opened_engines import open_engines, read_dataset
from executor.runtime import Job
from executor.scoring.scores import answer_scorer
from profiles.quality.calibration import Calibration, PlayedSchedule
from profiles.quality.forecast import QualityForecaster
from profiles.quality.profile import QualityProfile, load_quality, save_quality
from profiles.quality.score_fit import ScoreFit, forecast_score
from profiles.store import provenance_of_now
from staircase import Schedule, chain
from staircase.metrics.request_metrics import Summary
from staircase.schedule import LAYOUTS, Layout
from staircase.spec.scenario import load_scenario
from tests.test_cli import DEMO
from tests.test_quality_profile import SAMPLE, line


def played(
    name: str, layout: Layout | None, shares: Sequence[float], scores: Sequence[float]
) -> PlayedSchedule:
    """By request: agreements and scores; losses are what is missing of agreement."""
    loss, share = tuple(1 - x for x in shares), tuple(shares)
    free = (0.0,) * len(share)
    return PlayedSchedule(name, layout, loss, share, loss, share, free, free, tuple(scores))


def fit(*points: tuple[float, float], requests: int = 3) -> ScoreFit:
    """Schedules of which every request has the same agreement and score."""
    return ScoreFit(
        tuple(
            played(str(place), None, (share,) * requests, (score,) * requests)
            for place, (share, score) in enumerate(points)
        )
    )


def agreement(mean: float, low: float | None = None, high: float | None = None) -> Summary:
    return Summary(mean, low or mean, high or mean, mean, mean, mean)


def test_by_hand() -> None:
    # 0.8 before 0.6 cannot be: both become their mean.
    found = fit((0.6, 0.5), (1.0, 0.9), (0.8, 0.8), (0.9, 0.6))
    assert found.at(1.0) == 0.9
    assert [found.at(0.8), found.at(0.9)] == pytest.approx([0.7, 0.7])
    assert found.at(0.95) == pytest.approx(0.8), "linear between schedules"
    assert found.at(0.7) == pytest.approx(0.6)
    assert found.at(0.0) == 0.5, "constant beyond what was measured"


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9),
    st.lists(st.floats(0, 1), min_size=2),
)
def test_less_agreement_never_forecasts_a_better_score(
    points: list[tuple[float, float]], agreements: list[float]
) -> None:
    found = fit(*points)
    scores = [found.at(x) for x in sorted(agreements, reverse=True)]
    assert all(0 <= score <= 1 for score in scores)
    assert all(one >= other - 1e-12 for one, other in pairwise(scores))


def test_the_interval_holds_what_both_sources_of_error_say() -> None:
    rng = np.random.default_rng(3)
    found = []
    for place, mean in enumerate([0.0, 0.2, 0.4]):
        scores = np.clip(rng.normal(0.9 - mean, 0.1, 60), 0, 1)
        found.append(played(str(place), None, (1 - mean,) * 60, scores.tolist()))
    many = ScoreFit(tuple(found))
    few = ScoreFit(tuple(played(p.name, None, p.agreement[:6], (p.score or ())[:6]) for p in found))
    sure, unsure = (
        forecast_score(many, agreement(0.8), "rebuild"),
        forecast_score(few, agreement(0.8), "rebuild"),
    )
    vague = forecast_score(many, agreement(0.8, 0.7, 0.9), "rebuild")
    assert sure.low < 0.7 < sure.high
    assert unsure.high - unsure.low > 1.5 * (sure.high - sure.low)
    assert vague.high - vague.low > 1.5 * (sure.high - sure.low)


def test_interleaving_has_a_curve_of_its_own() -> None:
    layouts: list[Layout | None] = [None, "rebuild", "append_rounds", "interleave"]
    points = [(1.0, 0.9), (0.8, 0.5), (0.9, 0.7), (0.6, 0.8)]
    found = ScoreFit(
        tuple(
            played(str(layout), layout, (x,) * 2, (y,) * 2)
            for layout, (x, y) in zip(layouts, points, strict=True)
        )
    )
    assert forecast_score(found, agreement(0.8), "rebuild_query_first").mean == pytest.approx(0.5)
    assert forecast_score(found, agreement(0.8), "interleave").mean == pytest.approx(0.85)
    alone = ScoreFit(found.played[1:3])
    assert forecast_score(alone, agreement(0.8), "interleave").mean == pytest.approx(0.5)


@pytest.mark.parametrize(
    "some",
    [
        (played("a", None, (0.9,), (1.0,)),),
        (played("a", None, (0.9,), (1.0,)), played("b", None, (0.9, 0.8), (1.0, 1.0))),
        (played("a", None, (), ()), played("b", None, (), ())),
        (played("a", None, (0.9,), ()), played("b", None, (0.9,), ())),
    ],
)
def test_a_fit_needs_two_schedules_over_the_same_requests(
    some: tuple[PlayedSchedule, ...],
) -> None:
    with pytest.raises(ValueError, match="two schedules or more over the same requests"):
        ScoreFit(some)


def test_a_profile_keeps_it_and_forecasts_by_it(tmp_path: Path) -> None:
    profile = QualityProfile(
        (0, 10),
        2,
        {"z": ("p", "q")},
        (SAMPLE,),
        provenance_of_now(),
        fit((1.0, 1.0), (0.0, 0.4)).played,
    )
    save_quality(tmp_path / "quality.json", profile)
    assert load_quality(tmp_path / "quality.json") == profile
    forecast = QualityForecaster(profile)([line(((0, 0), 0))], "rebuild")
    # Where it was measured, forecasts were right: nothing is calibrated.
    assert forecast.loss.mean == 1.5
    assert forecast.score is not None
    assert forecast.score.mean == pytest.approx(0.4)


def test_forecasts_are_calibrated_by_what_was_played() -> None:
    """Measured losses are 0.8 of the forecast's, those of interleaving twice."""
    layouts: list[Layout] = ["rebuild", "append_rounds", "interleave"]
    some = tuple(
        PlayedSchedule(
            layout,
            layout,
            loss=(factor * x,) * 2,
            agreement=(1 - factor * x / 10,) * 2,
            forecast_loss=(x,) * 2,
            forecast_agreement=(1 - x / 10,) * 2,
            rounds_loss=(0.0,) * 2,
            rounds_disagreement=(0.0,) * 2,
        )
        for layout, x, factor in zip(layouts, (0.5, 1.0, 0.3), (0.8, 0.8, 2.0), strict=True)
    )
    both = dict.fromkeys(("rebuild", "interleave"), SAMPLE.surfaces["z"]["rebuild"])
    sample = replace(SAMPLE, surfaces={"z": both})
    plain = QualityProfile((0, 10), 2, {"z": ("p", "q")}, (sample,), provenance_of_now())
    calibrated = replace(plain, played=some)
    lines = [line(((5, 5), 0))]
    for layout, factor in (("rebuild", 0.8), ("interleave", 2.0)):
        one, other = (QualityForecaster(p)(lines, layout) for p in (plain, calibrated))
        assert other.loss.mean == pytest.approx(factor * one.loss.mean)
        assert 1 - other.agreement.mean == pytest.approx(factor * (1 - one.agreement.mean))
        assert other.score is None


def test_schedules_that_differ_widen_the_interval() -> None:
    free = [[0.0, 0.0], [0.0, 0.0]]
    found = Calibration.of([[1.0, 1.0], [1.0, 1.0]], [[0.6, 0.6], [1.0, 1.0]], free)
    assert found.factor == pytest.approx(0.8)
    # Residuals of -0.2 and 0.2 around 0.8; Student's t with one degree of freedom: 6.314.
    assert found.spread == pytest.approx(6.314 * 0.2 * 2**0.5 / 0.8, 1e-3)
    assert found.corrected(0.5, 0.0) == pytest.approx(0.4)
    shown = found.widened(agreement(0.4))
    assert (shown.mean, shown.high - shown.mean) == pytest.approx((0.4, found.spread * 0.4), 1e-2)
    assert found.error == pytest.approx(0)
    assert Calibration.of([[0.0]], [[0.1]], [[0.0]]) == Calibration()
    # Requests whose ratios differ: 0.6 and 1.0 of two, under either schedule.
    few = Calibration.of([[1.0, 1.0], [1.0, 1.0]], [[0.6, 1.0], [0.6, 1.0]], free)
    assert few.spread == pytest.approx(0)
    assert few.error == pytest.approx(1.6449 * 0.354 / 2**0.5, abs=1e-3)


@pytest.mark.slow
def test_pairs_come_from_schedules_that_were_played(tmp_path: Path) -> None:
    """On the embedded models: other reads, the same proposals, both figures of every request."""
    scenario = load_scenario(DEMO)
    pipeline, scorer = scenario.pipeline.build(), answer_scorer(scenario.requests, DEMO.parent)
    questions = read_dataset(scenario, DEMO.parent, 4, 0)
    steps: list[int] = []
    levels = (0, 16, 32, 48, 64, 96)
    with open_engines(scenario) as opened:
        outcomes = opened.runtime.run([Job(pipeline, Schedule(), one) for one in questions])
        scorers = opened.scorers_of(pipeline)
        samples = [measure_sample(pipeline, scorers, one, None, levels, 8) for one in outcomes]
        sources = {"editor": pipeline["editor"].reads}
        profile = QualityProfile(
            levels,
            8,
            sources,
            tuple(samples),
            provenance_of_now(),
            round_counts=ROUND_COUNTS,
        )
        forecaster = QualityForecaster(profile)
        probe = ScheduleProbe(pipeline, opened.runtime, scorers, scorer, forecaster)
        kept = ItemLog(LineLog(tmp_path / "log.jsonl", ["key"]), "key", PlayedFigures)
        found = probe.measure(questions, outcomes, kept, lambda: steps.append(1))
    probes = len(probes_in(LAYOUTS))
    assert len(steps) == probes * len(questions)
    full, *less = found
    assert full.loss == pytest.approx((0.0,) * 4, abs=1e-6)
    assert (full.forecast_loss, full.forecast_agreement) == ((0.0,) * 4, (1.0,) * 4)
    answers = [outcome.texts[pipeline.answer] for outcome in outcomes]
    scores: list[Any] = [scorer(*both) for both in zip(questions, answers, strict=True)]
    assert list(full.score or ()) == np.round(scores, 4).tolist()
    assert len(less) == probes
    assert max(np.mean(one.loss) for one in less) > 0.05
    assert min(np.mean(one.forecast_loss) for one in less) > 0


def test_the_probes_are_of_every_layout() -> None:
    pipeline = chain(["a", "b"])
    assert {one.layout for one in probe_schedules(pipeline, 60).values()} == set(LAYOUTS)
    assert len(probe_schedules(pipeline, 60)) == len(probes_in(LAYOUTS)) == 9


@pytest.mark.parametrize(
    ("layouts", "count"),
    [(["append_rounds"], 5), (["rebuild", "append_rounds"], 5), (["interleave"], 4)],
)
def test_the_probes_are_of_the_layouts_that_are_asked_for(
    layouts: list[Layout], count: int
) -> None:
    found = probe_schedules(chain(["a", "b"]), 60, layouts)
    assert len(found) == count
    assert {one.layout for one in found.values()} == set(layouts)
