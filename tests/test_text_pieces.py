"""Tokens of servers that speak only text."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from executor.openai.stream_chunks import Chunk
from executor.openai.vocabularies import LONGEST, TextPieces

TEXTS = st.text(st.characters(exclude_categories=()))


def read(pieces: TextPieces, *texts: str) -> list[int]:
    return [token for text in texts for token in pieces.read(Chunk(text))]


@given(st.lists(TEXTS))
def test_ids_that_were_kept_mean_the_same_in_another_process(texts: list[str]) -> None:
    """As a run that goes on after an interrupt has new vocabularies."""
    kept = json.loads(json.dumps(read(TextPieces("x"), *texts)))
    again = TextPieces("x")
    assert again.decode(kept) == "".join(texts)
    assert again.decode(again.encode("".join(texts))) == "".join(texts)


@given(TEXTS.filter(bool), st.integers(1, 20))
def test_a_very_long_piece_counts_as_several(text: str, times: int) -> None:
    long = text * (times * LONGEST)
    ids = read(TextPieces("x"), long)
    assert len(ids) == -(-len(long) // LONGEST)
    assert TextPieces("x").decode(json.loads(json.dumps(ids))) == long
