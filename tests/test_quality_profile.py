from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from executor.scoring import agreement, divergence
from profiles.quality import (
    QualityProfile,
    QualitySample,
    Surface,
    bin_rows,
    load_quality,
    save_quality,
)
from profiles.quality_forecast import QualityForecaster
from profiles.reading import read_along
from profiles.store import provenance_of_now
from staircase.errors import ProfileError
from staircase.timeline import Span, Timeline

# Read levels 0 and 10 of sources with 20 tokens at most; positions 0–1 and 2–3.
SURFACE = Surface(
    ((1.0, 2.0), (0.5, 1.0), (0.0, 0.2)), ((0.0, 0.0), (0.5, 0.5), (1.0, 0.8)), ((0.0,) * 2,) * 3
)
SAMPLE = QualitySample({}, {"p": 20, "q": 12, "z": 4}, {"z": {"rebuild": SURFACE}})
PROFILE = QualityProfile((0, 10), 2, {"z": ("p", "q")}, (SAMPLE,), provenance_of_now())


def line(*steps: tuple[tuple[int, int], int]) -> Timeline:
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
