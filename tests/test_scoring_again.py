"""Texts that begin alike are scored with what they share computed once, and come out the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from executor.inprocess.models import LoadedModel
from executor.inprocess.opening import scoring_model
from executor.scorer import ForcedText
from executor.scoring.scoring import (
    ModelScorer,
    WholeDistributions,
    log_probabilities,
    shares_texts,
)

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


SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
# Model types with their shapes, and whether keys and values are all that their layers keep.
TYPES: dict[str, tuple[dict[str, Any], bool]] = {
    "qwen3": (SIZES | {"num_hidden_layers": 2, "head_dim": 8}, True),
    "gemma3_text": (SIZES | {"num_hidden_layers": 6, "head_dim": 8, "sliding_window": 8}, True),
    "mamba": ({"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}, False),
    "rwkv": ({"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}, False),
    "bamba": (SIZES | MAMBA | {"num_hidden_layers": 2, "attn_layer_indices": [1]}, False),
    "lfm2": (SIZES | {"num_hidden_layers": 2, "full_attn_idxs": [1]}, False),
}


@pytest.mark.parametrize("kind", TYPES)
def test_models_that_keep_a_state_are_scored_text_by_text(kind: str) -> None:
    torch.manual_seed(0)
    shape, shares = TYPES[kind]
    config = AutoConfig.for_model(kind, **shape)
    network = AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]
    model = replace(scoring_model("embedded"), network=network)
    assert shares_texts(model) == shares
    text = [5 + number % 40 for number in range(30)]
    some = [ForcedText(text, range(20, 30)), ForcedText([*text[:25], 7, 8, 9], range(25, 28))]
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
    assert computed[-3:] == [40, 3, 41], "after those that find out whether it may be so"


def test_a_text_beside_itself_loses_nothing(model: LoadedModel) -> None:
    text = ForcedText(list(range(3, 43)), list(range(30, 40)))
    one, other = ModelScorer(model).score([text, ForcedText(list(text.ids), text.positions)])
    assert not one.against(other).loss.any()
