"""Prompts as token ids of the engines that read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from executor.engine import Tokens
from staircase.prompt import Prompt, Segment


def as_read(
    engines: Mapping[str, Tokens], reader: str, prompt: Prompt, ids: Mapping[str, Sequence[int]]
) -> Iterator[tuple[Segment, Sequence[int]]]:
    """Each segment of ``prompt`` in the tokens of ``reader``, the agent that reads it.

    Args:
        engines: by agent.
        ids: those of every text, as its writer has them; texts of no agent are the reader's.

    A segment by an agent with another vocabulary is encoded again, by itself. What another agent
    wrote is data: special tokens in it are spelled out, so that a draft ends no turn of its reader.
    """
    reading = engines[reader]
    for segment in prompt.segments:
        tokens = ids[segment.source][segment.start : segment.stop]
        writing = engines.get(segment.source, reading)
        if writing.vocabulary != reading.vocabulary:
            tokens = reading.encode_content(writing.decode(tokens))
        elif segment.source in engines and segment.source != reader:
            tokens = _as_data(tokens, reading)
        yield segment, tokens


def _as_data(ids: Sequence[int], tokens: Tokens) -> Sequence[int]:
    """Each by itself, so that what was read before stays as it was."""
    special = tokens.special_ids
    if special.isdisjoint(ids):
        return ids
    spelled = (tokens.encode_content(tokens.spell([n])) if n in special else [n] for n in ids)
    return [token for some in spelled for token in some]
