"""Texts of a server that speaks only text, scored by a model on this machine."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.inprocess.models import LoadedModel, load_tokenizer
from executor.inprocess.opening import scoring_model
from executor.openai.vocabularies import TextPieces, token_borders
from executor.opened_engines import open_engines
from executor.scorer import ForcedText
from executor.scoring.piece_scorer import PieceScorer
from executor.scoring.scoring import ModelScorer, WholeDistributions
from staircase.errors import ModelError
from tests.support.fake_server import FakeServer, Manners
from tests.test_remote_scenarios import demo

TEXT = "storm in oslo on monday , four dead ."


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return scoring_model("embedded")


def rows(found: object) -> np.ndarray:
    assert isinstance(found, WholeDistributions)
    return found.log_probabilities.numpy()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, len(TEXT) - 1), min_size=1, max_size=12, unique=True))
def test_a_piece_has_the_distribution_of_the_token_with_its_first_letter(
    model: LoadedModel, cuts: list[int]
) -> None:
    tokenizer = load_tokenizer("embedded")
    marked = tokenizer(TEXT, add_special_tokens=False, return_offsets_mapping=True)
    every = ModelScorer(model)
    places = range(1, len(marked["input_ids"]))
    whole = rows(next(every.score([ForcedText(marked["input_ids"], places)])))
    starts = [0, *sorted(cuts), len(TEXT)]
    pieces = TextPieces("x", lambda text: [text])
    ids = [pieces.encode(TEXT[a:b])[0] for a, b in pairwise(starts)]
    holders = [
        next(n for n, (_, end) in enumerate(marked["offset_mapping"]) if end > start)
        for start in starts[:-1]
    ]
    asked = [n for n in range(len(ids)) if holders[n] > 0]
    if not asked:
        return
    scorer = PieceScorer(lambda: model, pieces)
    found = rows(next(scorer.score([ForcedText(ids, asked)])))
    np.testing.assert_allclose(found, whole[[holders[n] - 1 for n in asked]], rtol=0, atol=1e-4)


def test_pieces_cut_at_its_borders_are_the_model_s_tokens(model: LoadedModel) -> None:
    pieces = TextPieces("x", token_borders(load_tokenizer("embedded")))
    ids, own = pieces.encode(TEXT), model.tokenizer.encode(TEXT, add_special_tokens=False)
    asked = list(range(1, len(own)))
    ours = next(PieceScorer(lambda: model, pieces).score([ForcedText(ids, asked)]))
    theirs = next(ModelScorer(model).score([ForcedText(own, asked)]))
    np.testing.assert_array_equal(rows(ours), rows(theirs))


def test_quality_is_known_behind_a_server_that_tells_none(tmp_path: Path) -> None:
    with FakeServer(Manners(takes_ids=False, length=30)) as fake:
        scenario = demo(tmp_path, fake.url, scored_by="embedded")
        with open_engines(scenario) as opened:
            assert opened.why_no_scores(scenario.pipeline.build()) is None
        wrong = demo(tmp_path, fake.url, scored_by="./nowhere")
        with pytest.raises(ModelError, match="nowhere"), open_engines(wrong):
            pass
