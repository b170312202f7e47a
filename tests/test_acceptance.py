"""How much of a checked text stands, by a quality profile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from executor.measure.forced_reading import ForcedReading
from executor.measure.measure_surfaces import measure_sample
from planner.profiling.quality_profiling import quality_key
from profiles.quality.acceptance import Agreements, ProfiledAcceptance, with_acceptance
from profiles.quality.profile import (
    Matrix,
    QualityProfile,
    QualitySample,
    QualitySurface,
    ReadOn,
    load_quality,
    save_quality,
)
from profiles.store import provenance_of_now
from staircase.errors import ProfileError
from staircase.revisions.acceptance import CheckedText
from staircase.spec.scenario import load_scenario
from staircase.workload import RequestShape, Workload
from tests.test_different_tokenizers import model_of, pipeline, played

DEMO = Path(__file__).parents[1] / "planner" / "demo.yaml"
WRITTEN = {"p": 40, "q": 12, "z": 4}
# Read levels 0, 10 and 20, then all 40; positions 0–1 and 2–3. Losses do not matter here.
NOTHING = ((0.0, 0.0),) * 4
AGREEMENT = ((0.1, 0.1), (0.5, 0.75), (0.8, 0.9), (1.0, 1.0))
SURFACES = {"z": {"rebuild": QualitySurface(NOTHING, AGREEMENT, NOTHING)}}


def sample(*read_on: ReadOn) -> QualitySample:
    by_layout = {"rebuild": read_on[0]} if read_on else {}
    return QualitySample({}, WRITTEN, SURFACES, read_on={"z": by_layout})


def profile(*samples: QualitySample) -> QualityProfile:
    return QualityProfile((0, 10, 20), 2, {"z": ("p", "q")}, samples, provenance_of_now())


def shares(known: QualityProfile, before: int, now: int) -> list[float]:
    """Of many checks of four tokens, how many keep the first token, the first two, …"""
    checked = CheckedText("z", 1, 0, 4, (before, before), (now, now), "rebuild")
    agreements = Agreements(known)
    every = [ProfiledAcceptance(agreements, 0, seed).kept_tokens(checked) for seed in range(3000)]
    return [float(np.mean(np.array(every) > place)) for place in range(4)]


def chances(*tokens: float) -> object:
    return pytest.approx(np.cumprod(tokens).tolist(), abs=0.03)


ONE: Matrix = ((0.2, 0.2), (0.9, 0.8), (0.99, 0.97))
FOUR: Matrix = ((0.1, 0.1), (0.7, 0.6), (0.95, 0.9))
MEASURED = profile(sample(ReadOn(1, ONE)), sample(ReadOn(4, FOUR)))


def test_where_all_is_read_what_agrees_with_it_stands() -> None:
    assert shares(MEASURED, 10, 40) == chances(0.5, 0.5, 0.75, 0.75)
    assert shares(MEASURED, 20, 40) == chances(0.8, 0.8, 0.9, 0.9)


def test_a_little_more_changes_what_it_was_seen_to_change() -> None:
    """Their agreements with everything differ by 0.03 and 0.015 a token only."""
    assert shares(MEASURED, 10, 11) == chances(0.9, 0.9, 0.8, 0.8)
    # Half-way between 1 and 4 tokens on a logarithmic scale, half-way between the levels.
    assert shares(MEASURED, 10, 12) == chances(0.8, 0.8, 0.7, 0.7)
    assert shares(MEASURED, 15, 16) == chances(0.945, 0.945, 0.885, 0.885)


def test_more_than_was_measured_changes_at_least_what_is_gained() -> None:
    # B of four tokens; but A rises by 0.3 and 0.15 from 10 to 20.
    assert shares(MEASURED, 10, 20) == chances(0.7, 0.7, 0.6, 0.6)
    certain = profile(sample(ReadOn(4, ((1.0, 1.0),) * 3)))
    assert shares(certain, 10, 20) == chances(0.7, 0.7, 0.85, 0.85)


def test_what_was_read_again_as_it_was_stands() -> None:
    assert shares(MEASURED, 10, 10) == shares(MEASURED, 40, 40) == [1.0] * 4


def test_samples_of_one_distance_are_averaged_and_shorter_texts_count_where_they_are() -> None:
    short = sample(ReadOn(1, tuple((row[0] - 0.1,) for row in ONE)))
    assert shares(profile(sample(ReadOn(1, ONE)), short), 10, 11) == chances(0.85, 0.85, 0.8, 0.8)


def test_a_profile_that_does_not_say_is_told() -> None:
    assert shares(profile(sample()), 10, 40) == chances(0.5, 0.5, 0.75, 0.75)
    with pytest.raises(ProfileError, match=r"agent 'z'.*in layout 'rebuild'.*with plan.checked"):
        shares(profile(sample()), 10, 11)


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    save_quality(tmp_path / "quality.json", MEASURED)
    assert load_quality(tmp_path / "quality.json") == MEASURED


def test_profiled_requests_say_what_stands() -> None:
    workload = Workload([RequestShape({}, {"p": 40, "z": 4})] * 3)
    found = with_acceptance(workload, Agreements(profile(sample(), sample()))).requests
    assert [one.acceptance.number for one in found if one.acceptance] == [0, 1, 0]  # type: ignore[attr-defined]


def test_it_is_measured_by_readings_side_by_side(tmp_path: Path) -> None:
    model, some = model_of(tmp_path), pipeline(12)
    asked, (full, *_) = played(model, model, some)
    found = measure_sample(
        some, {"z": asked}, full, None, [0, 4, 8, 20], 1, layouts=["rebuild"], read_on=2
    ).read_on["z"]["rebuild"]
    assert found.tokens == 2
    forced = ForcedReading(some["z"], asked, full.ids)
    for row, level in zip(found.agreement, (0, 4, 8, 20), strict=True):
        one, more = (forced.prompt("rebuild", forced.flat(n)) for n in (level, level + 2))
        (by_hand,) = forced.compare(one, [more])
        assert list(row) == by_hand.agreement.tolist()
    assert set(found.agreement[-1]) == {1.0}, "there is nothing more to read"
    assert 0.0 in {value for row in found.agreement for value in row}


def test_it_is_measured_where_checks_are_searched() -> None:
    scenario = load_scenario(DEMO)
    plan = scenario.plan.model_copy(update={"checked": [0, "all"], "layouts": ["rebuild"]})
    plain = scenario.plan.model_copy(update={"layouts": ["rebuild"]})
    keys = [quality_key(scenario.model_copy(update={"plan": one})) for one in (plan, plain)]
    assert keys[0] != keys[1], "or a profile would be continued that has none of it"
