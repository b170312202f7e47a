"""Scoring of texts that a server wrote, by a model on this machine with the server's weights."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate

from transformers import PreTrainedTokenizerBase

from executor.engine import Tokens
from executor.inprocess.models import LoadedModel
from executor.scorer import Distributions, ForcedText
from executor.scoring.scoring import ModelScorer


class PieceScorer:
    """Asks a model about texts in the tokens of a server's engine, which may be pieces of text.

    The whole text is encoded at once, as the server encodes a prompt. The distribution at a piece
    is the one from which the model's token was drawn that holds the piece's first letter. The
    model is asked for when a text is.
    """

    def __init__(self, load: Callable[[], LoadedModel], written_in: Tokens) -> None:
        self._load = load
        self._written_in = written_in

    @cached_property
    def _model(self) -> LoadedModel:
        return self._load()

    def score(self, texts: Sequence[ForcedText]) -> Iterator[Distributions]:
        """As ``Scorer``; raises ModelError if the model cannot be loaded."""
        yield from ModelScorer(self._model).score([self._encoded(text) for text in texts])

    def _encoded(self, text: ForcedText) -> ForcedText:
        pieces = [self._written_in.spell([token]) for token in text.ids]
        starts = [0, *accumulate(map(len, pieces))]
        tokenizer = self._model.tokenizer
        assert isinstance(tokenizer, PreTrainedTokenizerBase)
        marked = tokenizer("".join(pieces), add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in marked["offset_mapping"]]
        last = len(ends) - 1
        places = [min(bisect_right(ends, starts[place]), last) for place in text.positions]
        return ForcedText(marked["input_ids"], places)
