from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from executor.line_log import ItemLog, LineLog
from executor.scoring.scoring import agreement, divergence
from planner.profiling.quality_profiling import loss_error
from profiles.quality.forecast import QualityForecaster
from profiles.quality.profile import (
    Matrix,
    QualityProfile,
    QualitySample,
    QualitySurface,
    Restarts,
    bin_rows,
    load_quality,
    save_quality,
)
from profiles.quality.reading import read_along
from profiles.store import provenance_of_now
from staircase.errors import ProfileError
from staircase.timeline import Span, Timeline

# Read levels 0 and 10 of sources with 20 tokens at most; positions 0–1 and 2–3.
SURFACE = QualitySurface(
    ((1.0, 2.0), (0.5, 1.0), (0.0, 0.2)), ((0.0, 0.0), (0.5, 0.5), (1.0, 0.8)), ((0.0,) * 2,) * 3
)
SAMPLE = QualitySample({}, {"p": 20, "q": 12, "z": 4}, {"z": {"rebuild": SURFACE}})
PROFILE = QualityProfile((0, 10), 2, {"z": ("p", "q")}, (SAMPLE,), provenance_of_now())


def line(*steps: tuple[tuple[int, ...], int]) -> Timeline:
    """Calls of ``z`` that read so much and began after so many own tokens."""
    spans = tuple(
        Span(n, "z", "z", n, read, written, 0, 0, 0, 0, 0, 0, 0, 0, "length")
        for n, (read, written) in enumerate(steps)
    )
    return Timeline(0, 0, 0, spans, (), {})


def test_what_was_read_before_each_token() -> None:
    found = read_along(line(((5, 3), 0), ((20, 12), 3)), "z", 4, (20, 12))
    assert found.levels.tolist() == [5, 5, 5, 20]
    assert found.missing.tolist() == pytest.approx([0.4, 0.4, 0.4, 0.0])


@pytest.mark.parametrize(
    ("steps", "loss"),
    [
        ([((0, 0), 0)], (1 + 1 + 2 + 2) / 4),
        ([((5, 5), 0)], (0.75 + 0.75 + 1.5 + 1.5) / 4),
        ([((15, 12), 0)], (0.25 + 0.25 + 0.6 + 0.6) / 4),
        ([((10, 10), 0), ((20, 12), 2)], (0.5 + 0.5 + 0.2 + 0.2) / 4),
        ([((20, 12), 0)], 0.0),
    ],
)
def test_loss_is_the_mean_along_the_staircase(
    steps: list[tuple[tuple[int, int], int]], loss: float
) -> None:
    forecast = QualityForecaster(PROFILE)([line(*steps)], "rebuild")
    assert forecast.loss.mean == pytest.approx(loss)


def test_a_layout_that_was_not_measured_is_told() -> None:
    with pytest.raises(ProfileError, match="interleave"):
        QualityForecaster(PROFILE)([line(((5, 5), 0))], "interleave")


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    save_quality(tmp_path / "quality.json", PROFILE)
    assert load_quality(tmp_path / "quality.json") == PROFILE


def test_bins_average() -> None:
    assert bin_rows([[1, 3, 5]], 2) == ((2.0, 5.0),)


def test_divergence_of_known_distributions() -> None:
    one = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    other = torch.log(torch.tensor([[0.25, 0.75], [0.9, 0.1]]))
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert divergence(one, other) == pytest.approx([expected, 0.0], abs=1e-6)
    assert agreement(one, other).tolist() == [0.0, 1.0]


def with_surfaces(losses: Sequence[Matrix], levels: int) -> QualityProfile:
    """Samples of one source of 40 tokens and an answer of 4, by their losses [rows, bins]."""
    samples = []
    for loss in losses:
        agreement = tuple(tuple(1 - x for x in row) for row in loss)
        surface = QualitySurface(loss, agreement, loss)
        samples.append(QualitySample({}, {"p": 40, "z": 4}, {"z": {"rebuild": surface}}))
    grid = tuple(10 * number for number in range(levels))
    return QualityProfile(grid, 2, {"z": ("p",)}, tuple(samples), provenance_of_now())


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_reading_more_never_forecasts_more_loss(
    drawn: list[list[tuple[float, float]]],
) -> None:
    losses = [(*rows, (0.0, 0.0)) for rows in drawn]
    profile = with_surfaces(losses, levels=3)
    forecaster = QualityForecaster(profile)

    def at(level: int) -> tuple[float, float]:
        lines = [replace(line(((level,), 0)), request=n) for n in range(len(losses))]
        found = forecaster(lines, "rebuild")
        return found.loss.mean, found.agreement.mean

    found = [at(level) for level in (0, 5, 10, 13, 20)]
    assert all(one[0] >= other[0] - 1e-9 for one, other in pairwise(found))
    assert all(one[1] <= other[1] + 1e-9 for one, other in pairwise(found))


def test_nothing_is_better_than_having_read_everything() -> None:
    """As where interruptions are taken for dearer than they were."""
    losses: list[Matrix] = [
        ((0.4, 0.2), (-0.2, 0.1), (-0.1, -0.1)),
        ((0.2, 0.2), (0.1, -0.3), (-0.1, 0.0)),
    ]
    forecaster = QualityForecaster(with_surfaces(losses, levels=2))
    for level, loss in ((0, 0.25), (5, 0.125), (10, 0.0), (20, 0.0)):
        lines = [replace(line(((level,), 0)), request=number) for number in range(2)]
        found = forecaster(lines, "rebuild")
        assert found.loss.mean == pytest.approx(loss)
        assert found.agreement.mean == pytest.approx(1 - loss)


def test_no_figure_of_a_forecast_is_better_than_of_full_reading() -> None:
    """As where interruptions cost less than nothing by chance, in some requests or in all."""
    gains = (0.4, 1.0, 0.2)
    samples = []
    for gain in gains:
        restarts = {"z": Restarts((None, -gain, None, None), (None, gain, None, None))}
        matrix = ((0.1, 0.1), (0.1, 0.1), (0.0, 0.0))
        (sample,) = with_surfaces([matrix], levels=2).samples
        both = {"interleave": sample.surfaces["z"]["rebuild"]}
        samples.append(replace(sample, surfaces={"z": both}, restarts=restarts))
    for some in (samples, samples[:2]):
        profile = replace(with_surfaces([], levels=2), samples=tuple(some))
        lines = [
            replace(line(((10,), 0), ((20,), 1), ((20,), 2)), request=n) for n in range(len(some))
        ]
        found = QualityForecaster(profile)(lines, "interleave")
        for one in (found, found.of_other_requests()):
            assert min(astuple(one.loss)) >= 0
            assert max(astuple(one.agreement)) <= 1
            for figure in (one.loss, one.agreement):
                assert figure.low <= figure.mean <= figure.high


class TestSourcesLeftOut:
    """Two sources of 20 tokens; without one of them loss is 0.4 more at any level."""

    LESS = QualitySurface(((1.0,), (0.9,), (0.4,)), ((0.0,), (0.1,), (0.6,)), ((0.0,),) * 3)
    WHOLE = QualitySurface(((1.0,), (0.5,), (0.0,)), ((0.0,), (0.5,), (1.0,)), ((0.0,),) * 3)

    def profile(self, without: dict[str, QualitySurface]) -> QualityProfile:
        lengths = {"p": 20, "q": 20, "z": 4}
        sample = QualitySample({}, lengths, {"z": {"rebuild": self.WHOLE}}, without=without)
        return QualityProfile((0, 10), 4, {"z": ("p", "q")}, (sample,), provenance_of_now())

    @pytest.mark.parametrize(
        ("read", "loss", "agreement"),
        [
            ((10, 10), 0.5, 0.5),
            ((10, 0), 0.9, 0.1),
            ((10, 5), 0.7, 0.3),
            # Beyond the last measured level what a source is worth stays as it was there.
            ((20, 0), 0.4, 0.6),
            # Never worse than having read nothing at all.
            ((0, 5), 1.0 - 0.25 + 0.2, 0.25 - 0.2),
        ],
    )
    def test_by_hand(self, read: tuple[int, int], loss: float, agreement: float) -> None:
        forecast = QualityForecaster(self.profile({"z": self.LESS}))([line((read, 0))], "rebuild")
        assert forecast.loss.mean == pytest.approx(loss)
        assert forecast.agreement.mean == pytest.approx(agreement)

    def test_a_profile_that_did_not_measure_it_is_told(self) -> None:
        with pytest.raises(ProfileError, match="with a source left out"):
            QualityForecaster(self.profile({}))([line(((10, 0), 0))], "rebuild")


class TestItemLog:
    def test_goes_on_where_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "some" / "it.jsonl"
        log = ItemLog(LineLog(path, ["a"]), "a", QualitySample)
        assert log.item("3", lambda: SAMPLE) == SAMPLE
        again = ItemLog(LineLog(path, ["a"]), "a", QualitySample)
        assert len(again) == 1
        assert again.item("3", lambda: pytest.fail("measured twice")) == SAMPLE

    def test_of_another_pipeline_nothing_is_used(self, tmp_path: Path) -> None:
        path = tmp_path / "it.jsonl"
        ItemLog(LineLog(path, ["a"]), "a", QualitySample).add("0", SAMPLE)
        lines = LineLog(path, ["b"])
        assert len(lines) == 0
        assert "1 samples are of another engine or scenario" in lines.notes[0]

    def test_what_no_longer_fits_is_made_anew(self, tmp_path: Path) -> None:
        """As when another version wrote it."""
        lines = LineLog(tmp_path / "it.jsonl", ["a"])
        lines.append("a", {"name": "0", "item": {"nothing": "known"}})
        again = ItemLog(LineLog(lines.path, ["a"]), "a", QualitySample)
        assert again.get("0") is None


def test_the_error_that_sampling_stops_at() -> None:
    alike = with_surfaces([((0.5, 0.5), (0.2, 0.2), (0.0, 0.0))] * 20, 2).samples
    assert loss_error(alike) == pytest.approx(0)
    rng = np.random.default_rng(0)
    drawn = rng.gamma(2.0, size=100)
    spread = with_surfaces([((x, x), (0.0, 0.0)) for x in drawn.tolist()], 1).samples
    # A mean of 100 values whose standard deviation is 0.71 of it.
    assert loss_error(spread) == pytest.approx(1.645 * drawn.std() / drawn.mean() / 10, rel=0.2)


def test_interruptions_cost_where_texts_are_interleaved() -> None:
    """0.8 and 0.4 nats right after new reading at positions 1 and 3; between them, linear."""
    restarts = {"z": Restarts((None, 0.8, None, 0.4), (None, -0.2, None, -0.4))}
    both = dict.fromkeys(("rebuild", "interleave"), SURFACE)
    sample = replace(SAMPLE, surfaces={"z": both}, restarts=restarts)
    forecaster = QualityForecaster(replace(PROFILE, samples=(sample,)))
    steps = [((10, 10), 0), ((20, 12), 1), ((20, 12), 2)]
    plain = forecaster([line(*steps)], "rebuild")
    found = forecaster([line(*steps)], "interleave")
    # The third step read nothing new.
    assert found.loss.mean == pytest.approx(plain.loss.mean + 0.8 / 4)
    assert found.agreement.mean == pytest.approx(plain.agreement.mean - 0.2 / 4)
    late = [((10, 10), 0), ((20, 12), 2)]
    plain, found = (forecaster([line(*late)], name) for name in ("rebuild", "interleave"))
    assert found.loss.mean == pytest.approx(plain.loss.mean + 0.6 / 4)
