"""What every scorer says of a text, by one set of tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from executor.inprocess.models import LoadedModel
from executor.inprocess.opening import scoring_model
from executor.openai.server_profile import PromptScores
from executor.openai.vocabularies import TextPieces
from executor.scorer import Distributions, ForcedText, Scorer
from executor.scoring.piece_scorer import PieceScorer
from executor.scoring.scoring import ModelScorer, log_probabilities
from tests.support.letter_model import LETTERS, save_letter_model
from tests.test_server_scoring import asked, manners

PLACES = range(9, 29)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder)
    return scoring_model(str(folder))


@dataclass(frozen=True)
class Asked:
    """A scorer of the letter model; ``encode`` gives a text in its tokens, a letter each."""

    scorer: Scorer
    encode: Callable[[str], Sequence[int]]

    def score(self, ids: Sequence[int]) -> Distributions:
        text = "".join(LETTERS[number] for number in ids)
        return next(self.scorer.score([ForcedText(self.encode(text), PLACES)]))


@contextmanager
def in_process(model: LoadedModel) -> Iterator[Asked]:
    yield Asked(ModelScorer(model), model.encode)


@contextmanager
def in_pieces(model: LoadedModel) -> Iterator[Asked]:
    pieces = TextPieces("x", list)
    yield Asked(PieceScorer(lambda: model, pieces), pieces.encode)


def by_server(form: Any, top: int) -> Any:
    @contextmanager
    def opened(model: LoadedModel) -> Iterator[Asked]:
        with asked(manners(model, form), PromptScores(form, top)) as scorer:
            yield Asked(scorer, model.encode)

    return opened


SCORERS = {
    "in process": in_process,
    "in pieces": in_pieces,
    "prompt_logprobs, all": by_server("prompt_logprobs", len(LETTERS)),
    "prompt_logprobs, 5": by_server("prompt_logprobs", 5),
    "echo, 5": by_server("echo", 5),
}


@pytest.fixture(params=SCORERS)
def scoring(request: pytest.FixtureRequest, model: LoadedModel) -> Iterator[Asked]:
    with SCORERS[request.param](model) as opened:
        yield opened


def greedy(model: LoadedModel, ids: list[int], count: int) -> list[int]:
    """The obvious way: a whole pass for every token."""
    for _ in range(count):
        row = log_probabilities(model, [*ids, 0], [len(ids)])[0, : model.written_below]
        ids = [*ids, int(row.argmax())]
    return ids


class TestEveryScorer:
    def test_greedy_text_is_the_likeliest_throughout(
        self, scoring: Asked, model: LoadedModel
    ) -> None:
        text = greedy(model, list(range(PLACES.start)), len(PLACES))
        assert scoring.score(text).behind_best() == pytest.approx(np.zeros(len(PLACES)), abs=1e-5)

    def test_other_text_is_behind_by_what_the_model_says(
        self, scoring: Asked, model: LoadedModel
    ) -> None:
        text = [*greedy(model, list(range(9)), 8), *range(12)]
        rows = log_probabilities(model, text, PLACES)
        drawn = rows[range(len(PLACES)), [text[place] for place in PLACES]]
        expected = (rows.max(dim=-1).values - drawn).tolist()
        assert min(expected[:8]) == 0
        assert max(expected) > 1
        assert scoring.score(text).behind_best() == pytest.approx(expected, abs=1e-4)

    def test_rows_say_the_same(self, scoring: Asked) -> None:
        found = scoring.score(range(30))
        assert (found.rows(3, 8).behind_best() == found.behind_best()[3:8]).all()
        assert (found.rows(-4, None).behind_best() == found.behind_best()[-4:]).all()

    def test_beside_itself_nothing_is_lost(self, scoring: Asked) -> None:
        found = scoring.score(range(30))
        same = found.against(found)
        assert same.loss == pytest.approx(np.zeros(len(PLACES)), abs=1e-6)
        assert (same.agreement == 1).all()
        assert (same.nll_gap == 0).all()


def test_tokens_that_are_never_written_are_not_the_best(model: LoadedModel) -> None:
    """As where embeddings are padded."""
    below = 20
    few = replace(model, written_below=below)
    text = greedy(few, list(range(PLACES.start)), len(PLACES))
    places = ForcedText(text, PLACES)
    assert next(ModelScorer(few).score([places])).behind_best().max() < 1e-5
    assert next(ModelScorer(model).score([places])).behind_best().max() > 0.1
