"""When guesses and checks pay: the formula, and what the roofline makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.break_even import (
    LENGTHS,
    WIDTHS,
    Row,
    kept,
    least_acceptance,
    of_checks,
    of_guesses,
    servers,
    write_plot,
)


def test_what_stands_as_drawn() -> None:
    stands = np.random.default_rng(0).random((100_000, 16)) < 0.9
    assert kept(16, 0.9) == pytest.approx(np.cumprod(stands, axis=1).sum(axis=1).mean(), rel=0.01)


@given(st.integers(1, 300), st.floats(0, 300))
def test_least_acceptance_keeps_what_is_needed(tokens: int, needed: float) -> None:
    found = least_acceptance(tokens, needed)
    if found is None:
        assert kept(tokens, 1.0) <= needed
    else:
        assert kept(tokens, found) == pytest.approx(needed, abs=1e-6)


def test_a_guess_costs_more_where_many_decode() -> None:
    """Beyond what is read for the weights anyway."""
    one, many = (place for place in servers() if place.name.startswith("Llama-3.1-8B"))
    assert one.wide(1) == pytest.approx(1, rel=1e-3)
    assert many.wide(1) == pytest.approx(1, rel=1e-3)
    assert one.wide(13) < 1.05 < 1.2 < many.wide(13)
    assert [many.wide(width) for width in WIDTHS] == sorted(many.wide(width) for width in WIDTHS)
    assert one.checking(LENGTHS[0]) < one.checking(LENGTHS[-1])


def test_what_never_pays_is_said() -> None:
    assert Row("here", 2, 2.5).words == "2.50 (never)"
    assert Row("here", 12, 1.0).words == "1.00 (0.50)"


def test_it_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    places = list(servers())
    write_plot(tmp_path / "plot.svg", of_guesses(places), of_checks(places))
    drawn = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    assert all(place.name in drawn for place in places)
