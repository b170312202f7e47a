"""What it costs that a text was read in rounds, one appended after the other."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from executor.measure.forced_reading import ForcedReading
from executor.measure.measure_surfaces import ROUND_COUNTS, measure_sample
from profiles.quality.calibration import PlayedSchedule
from profiles.quality.forecast import QualityForecaster
from profiles.quality.profile import QualityProfile, QualitySample, QualitySurface
from profiles.store import provenance_of_now
from staircase.errors import ProfileError
from staircase.prompt import Round
from staircase.schedule import Layout
from staircase.timeline import Span, Timeline
from tests.test_different_tokenizers import model_of, pipeline, played

TOKENS = 12
# Levels 0, 4, 8 and all; one bin.
FLAT = QualitySurface(
    ((0.4,), (0.2,), (0.1,), (0.0,)), ((0.5,), (0.8,), (0.9,), (1.0,)), ((0.0,),) * 4
)
IN_ROUNDS = QualitySurface(((0.01,), (0.03,)), ((0.9,), (0.7,)), ((0.0,),) * 2)
WRITTEN = {"p": TOKENS, "q": TOKENS, "z": TOKENS}
LAYOUTS = ("append_rounds", "rebuild", "rebuild_query_first")
SAMPLE = QualitySample({}, WRITTEN, {"z": dict.fromkeys(LAYOUTS, FLAT)}, rounds={"z": IN_ROUNDS})
PROFILE = QualityProfile(
    (0, 4, 8), TOKENS, {"z": ("p", "q")}, (SAMPLE,), provenance_of_now(), round_counts=(2, 4)
)


def line(*steps: tuple[int, int]) -> Timeline:
    """Calls of z that read so much of both sources, after so many own tokens."""
    spans = tuple(
        Span(n, "z", "z", n, (read, read), written, 0, 0, 0, 0, 0, 0, 0, 0, "length")
        for n, (read, written) in enumerate(steps)
    )
    return Timeline(0, 0, 0, spans, (), {})


def forecast(profile: QualityProfile, layout: str, *steps: tuple[int, int]) -> tuple[float, float]:
    """Loss and agreement along those calls, before any calibration."""
    found = QualityForecaster(profile).of_sample(0, line(*steps), layout)
    return found.loss, found.agreement


def test_it_is_what_one_pass_a_token_says(tmp_path: Path) -> None:
    model, some = model_of(tmp_path), pipeline(TOKENS)
    asked, (full, *_) = played(model, model, some)
    found = measure_sample(some, {"z": asked}, full, None, [0, 4, 8], 1).rounds["z"]
    forced = ForcedReading(some["z"], asked, full.ids)
    whole = forced.prompt("append_rounds", forced.flat(None))
    for row, count in enumerate(ROUND_COUNTS):
        cuts = sorted({math.ceil(TOKENS * place / count) for place in range(1, count + 1)})
        rounds = [Round((cut, cut), written) for written, cut in enumerate(cuts)]
        (by_hand,) = forced.compare(whole, [forced.prompt("append_rounds", rounds)])
        for place in range(TOKENS):
            assert found.loss[row][place] == pytest.approx(by_hand.loss[place], abs=1e-4)
            assert found.agreement[row][place] == by_hand.agreement[place]
    assert max(found.loss[0]) > 0


def test_losses_add_up_and_shares_multiply() -> None:
    """Four tokens after 4 of 12, four in a second round, four in a third."""
    loss, agreement = forecast(PROFILE, "append_rounds", (4, 0), (8, 4), (12, 8))
    assert loss == pytest.approx((0.2 + (0.1 + 0.01) + (0.0 + 0.02)) / 3)
    assert agreement == pytest.approx((0.8 + 0.9 * 0.9 + 1.0 * 0.8) / 3)


def test_more_rounds_than_were_measured_cost_what_the_most_did() -> None:
    steps = [(4 + place, place) for place in range(8)]
    loss, _ = forecast(PROFILE, "append_rounds", *steps, (12, 8))
    flat, _ = forecast(PROFILE, "rebuild", *steps, (12, 8))
    by_rounds = [0, 0.01, 0.02, *(0.03,) * 9]
    assert loss - flat == pytest.approx(sum(by_rounds) / TOKENS)


@pytest.mark.parametrize("layout", ["rebuild", "rebuild_query_first"])
def test_where_nothing_is_appended_rounds_cost_nothing(layout: str) -> None:
    assert forecast(PROFILE, layout, (4, 0), (12, 4)) == pytest.approx((0.2 / 3, (0.8 + 2) / 3))


def test_what_rounds_cost_is_not_calibrated() -> None:
    """Flat losses turn out to be half of the forecast; those of rounds are what they are."""
    flat, free, appended = (0.2, 0.4), (0.0, 0.0), (0.3, 0.5)
    cases: list[tuple[Layout, tuple[float, float]]] = [
        ("rebuild", free),
        ("append_rounds", appended),
    ]
    some = tuple(
        PlayedSchedule(
            layout,
            layout,
            loss=tuple(0.5 * x + r for x, r in zip(flat, rounds, strict=True)),
            agreement=tuple(1 - 0.5 * x - r for x, r in zip(flat, rounds, strict=True)),
            forecast_loss=tuple(x + r for x, r in zip(flat, rounds, strict=True)),
            forecast_agreement=tuple(1 - x - r for x, r in zip(flat, rounds, strict=True)),
            rounds_loss=rounds,
            rounds_disagreement=rounds,
        )
        for layout, rounds in cases
    )
    steps = ((4, 0), (12, 4))
    loss, agreement = forecast(PROFILE, "append_rounds", *steps)
    flat_loss, flat_agreement = forecast(PROFILE, "rebuild", *steps)
    found = QualityForecaster(replace(PROFILE, played=some))([line(*steps)], "append_rounds")
    assert found.loss.mean == pytest.approx(0.5 * flat_loss + (loss - flat_loss))
    disagreement = 0.5 * (1 - flat_agreement) + (flat_agreement - agreement)
    assert found.agreement.mean == pytest.approx(1 - disagreement)


def test_a_profile_that_does_not_know_is_refused() -> None:
    older = replace(PROFILE, samples=(replace(SAMPLE, rounds={}),))
    assert forecast(older, "append_rounds", (4, 0)) == pytest.approx((0.2, 0.8))
    with pytest.raises(ProfileError, match="loses where rounds are appended; measure it anew"):
        forecast(older, "append_rounds", (4, 0), (12, 4))
