from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.latency.profile import (
    DecodePoint,
    EngineProfile,
    LatencyProfile,
    PrefillPoint,
    fit_engine,
    load_latency,
    save_latency,
)
from profiles.store import provenance_of_now
from staircase.errors import ProfileError


def seconds(new: int, cached: int) -> float:
    return 0.002 + 3e-5 * new + 1e-5 * max(0, new - 64) + 2e-8 * new * (cached + (new + 1) / 2)


def engine(noise: float = 0.0) -> EngineProfile:
    rng = np.random.default_rng(0)
    prefill = [
        PrefillPoint(n, k, seconds(n, k) * (1 + noise * rng.standard_normal()), 0.01, 1.0)
        for n in (1, 8, 32, 64, 128, 256, 512)
        for k in (0, 128, 512)
    ]
    decode = [DecodePoint(1, c, 0.001 + 1e-7 * c, 0.01, 1.0) for c in (8, 64, 256, 1024)]
    return fit_engine(prefill, decode, 1e-4)


@given(st.integers(1, 512), st.integers(0, 512))
def test_the_fit_finds_the_formula_it_was_made_of(new: int, cached: int) -> None:
    assert engine().prefill_s(new, cached) == pytest.approx(seconds(new, cached), rel=1e-6)


def test_the_error_is_that_of_points_left_out() -> None:
    assert engine().prefill.error < 1e-6
    assert 0.01 < engine(noise=0.05).prefill.error < 0.1


@given(st.integers(1, 9999), st.integers(0, 9999))
def test_more_work_never_takes_less_time(new: int, cached: int) -> None:
    profile = engine(noise=0.3)
    assert profile.prefill_s(new + 1, cached) >= profile.prefill_s(new, cached) > 0
    assert profile.prefill_s(new, cached + 1) >= profile.prefill_s(new, cached)
    assert profile.decode_s(1, cached + 1) >= profile.decode_s(1, cached) > 0


def test_experts_saturate() -> None:
    """Each of the first 32 tokens activates more of them."""

    def seconds_of(tokens: int) -> float:
        return 0.001 + 1e-3 * min(tokens, 32) + 1e-5 * tokens

    sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    prefill = [PrefillPoint(n, 0, seconds_of(n), 0.0, 1.0) for n in sizes]
    decode = [DecodePoint(n, 64 * n, seconds_of(n), 0.0, 1.0) for n in sizes]
    found = fit_engine(prefill, decode, 0.0, has_experts=True)
    dense = fit_engine(prefill, decode, 0.0)
    assert found.decode_s(48, 48 * 64) == pytest.approx(seconds_of(48), rel=1e-3)
    assert found.prefill_s(24, 0) == pytest.approx(seconds_of(24), rel=1e-3)
    assert dense.decode.error > 0.1 > 1e-6 > found.decode.error


def test_outside_the_measured_range_is_said() -> None:
    assert engine().outside(512, 1024) == []
    assert engine().outside(8192, 4096) == ["prefill 8,192 > 512", "context 4,096 > 1,024"]
    assert engine().outside(1, 1, batch=3) == ["batch 3 > 1"]


def test_too_few_points_are_told() -> None:
    with pytest.raises(ProfileError, match="too few"):
        fit_engine([], [], 0.0)


class TestFiles:
    def saved(self, folder: Path) -> Path:
        profile = LatencyProfile({"a": engine()}, provenance_of_now())
        save_latency(folder / "latency.json", profile)
        return folder / "latency.json"

    def test_come_back_as_they_were(self, tmp_path: Path) -> None:
        assert load_latency(self.saved(tmp_path))["a"] == engine()

    def test_edited_ones_are_told(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path)
        path.write_text(path.read_text().replace('"call_s":0.0001', '"call_s":0.0002'))
        with pytest.raises(ProfileError, match="edited"):
            load_latency(path)

    def test_another_schema_is_told(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path)
        path.write_text(path.read_text().replace("staircase.latency/1", "staircase.latency/0"))
        with pytest.raises(ProfileError, match=r"latency/0.*make it anew"):
            load_latency(path)

    @pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"schema": 1})])
    def test_other_files_are_told(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "latency.json"
        path.write_text(text)
        with pytest.raises(ProfileError, match=str(path)):
            load_latency(path)

    def test_an_unknown_engine_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ProfileError, match="no engine 'b'"):
            load_latency(self.saved(tmp_path))["b"]


def test_profiles_of_before_have_no_cost_of_reading_the_cache() -> None:
    now = engine()
    older = replace(now, prefill=replace(now.prefill, coefficients=now.prefill.coefficients[:7]))
    assert older.prefill_s(100, 50) == pytest.approx(now.prefill_s(100, 50))
