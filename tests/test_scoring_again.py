"""Texts that begin alike are scored with what they share computed once, and come out the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.local import scoring_model
from executor.models import LoadedModel
from executor.scorer import ForcedText
from executor.scoring import ModelScorer, WholeDistributions, log_probabilities

TOKENS = st.integers(3, 60)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return scoring_model("embedded")


@st.composite
def texts(draw: st.DrawFn) -> list[ForcedText]:
    """Each begins as the one before does, up to some place, and is asked for after any place."""
    found: list[ForcedText] = []
    ids: list[int] = []
    for _ in range(draw(st.integers(1, 4))):
        kept = draw(st.integers(0, len(ids)))
        ids = ids[:kept] + draw(st.lists(TOKENS, min_size=3, max_size=20))
        first = draw(st.integers(1, len(ids) - 1))
        found.append(ForcedText(ids, range(first, len(ids))))
    return found


def rows(model: LoadedModel, some: Sequence[ForcedText]) -> Iterator[np.ndarray]:
    for one in ModelScorer(model).score(some):
        assert isinstance(one, WholeDistributions)
        yield one.log_probabilities.numpy()


@settings(max_examples=40, deadline=None)
@given(texts())
def test_what_is_shared_changes_nothing(model: LoadedModel, some: list[ForcedText]) -> None:
    alone = (log_probabilities(model, one.ids, one.positions).numpy() for one in some)
    for ours, theirs in zip(rows(model, some), alone, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_only_what_is_new_is_computed(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    forward = model.network.forward

    def counted(**inputs: torch.Tensor) -> object:
        computed.append(inputs["input_ids"].shape[1])
        return forward(**inputs)

    monkeypatch.setattr(model.network, "forward", counted)
    text = list(range(3, 43))
    some = [
        ForcedText(text, range(30, 40)),
        ForcedText([*text, 7, 8], range(40, 42)),
        ForcedText([5, *text], range(30, 40)),
    ]
    assert [len(found) for found in rows(model, some)] == [10, 2, 10]
    assert computed == [40, 3, 41]
