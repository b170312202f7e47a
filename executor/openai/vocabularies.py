"""What a token is for an engine behind a server.

Where the server takes and returns token ids, tokens are the model's own. Where it speaks only
text, a token is a piece of text: what one chunk of the stream brought, cut at the model's token
borders if the scenario names its tokenizer. Either way the prompt of a later call is put together
from just the pieces that were shown, so no text is lost, repeated or changed; their number is only
an estimate where a server sends several tokens in a chunk and its tokenizer is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from executor.engine import Tokens
from executor.openai.server_faults import ServerError
from executor.openai.stream_chunks import Chunk
from executor.tokens.token_ids import ContentEncoder, special_ids_of

Split = Callable[[str], list[str]]
# Letters of a piece: of longer ones the numbers have more digits than JSON files are read with.
LONGEST = 256
_WORD = re.compile(r"\s*\S+|\s+")


class Vocabulary(Tokens, Protocol):
    """Of an engine behind a server."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The model's, where it is known."""
        ...

    def read(self, chunk: Chunk) -> list[int]:
        """The tokens that a chunk brings, without the one that ends the text."""
        ...


class ModelTokens:
    """The model's own tokens."""

    def __init__(self, vocabulary: str, tokenizer: PreTrainedTokenizerBase) -> None:
        self.vocabulary = vocabulary
        self.tokenizer: PreTrainedTokenizerBase | None = tokenizer
        self._tokenizer = tokenizer
        self._contents = ContentEncoder(tokenizer)
        self._special = frozenset(tokenizer.all_special_ids)
        self.special_ids = special_ids_of(tokenizer)

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def encode_content(self, text: str) -> list[int]:
        return self._contents.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def spell(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def read(self, chunk: Chunk) -> list[int]:
        if chunk.token_ids is None:
            if chunk.text:
                raise ServerError("a chunk without token_ids, though the probe saw them")
            return []
        ids = list(chunk.token_ids)
        if chunk.end == "stop" and ids and ids[-1] in self._special:
            ids.pop()
        return ids


class TextPieces:
    """Pieces of text; a piece's id is its letters as a number.

    So ids mean the same in every process and on every day, as runs that are kept need.
    """

    def __init__(
        self,
        vocabulary: str,
        split: Split | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        # Text is text: what is special in it, the server says.
        self.special_ids: frozenset[int] = frozenset()
        self._split = split

    def encode(self, text: str) -> list[int]:
        """Without a tokenizer a text is counted by its words."""
        return _ids(self._split(text) if self._split else _WORD.findall(text))

    def encode_content(self, text: str) -> list[int]:
        """Text goes over the wire as it is: what special tokens are, the server says."""
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(_piece, ids))

    def spell(self, ids: Sequence[int]) -> str:
        """The server shows or hides them."""
        return self.decode(ids)

    def read(self, chunk: Chunk) -> list[int]:
        if chunk.token_ids is not None:
            return _ids(_spread(chunk.text, self._count(chunk)))
        if not chunk.text:
            return []
        return _ids(self._split(chunk.text) if self._split else [chunk.text])

    def piece(self, text: str) -> int:
        """``text`` as one token, though it may have a letter more than any."""
        return _id(text)

    @staticmethod
    def _count(chunk: Chunk) -> int:
        """Tokens that the server counts; at the end, one without text is what ends the text."""
        assert chunk.token_ids is not None
        count = len(chunk.token_ids)
        return max(0, count - 1) if chunk.end == "stop" and not chunk.text else count


def _ids(pieces: Sequence[str]) -> list[int]:
    """A longer piece than any token, as of a server that sends whole answers, counts as several."""
    return [_id(part) for piece in pieces for part in _parts(piece)]


def _id(piece: str) -> int:
    return int.from_bytes(b"\1" + piece.encode("utf-8", "surrogatepass"))


def _parts(piece: str) -> list[str]:
    """Also one that is empty: a token whose text came with another one's."""
    return [piece[at : at + LONGEST] for at in range(0, len(piece), LONGEST)] or [piece]


def _piece(number: int) -> str:
    size = (number.bit_length() + 7) // 8
    return number.to_bytes(size)[1:].decode("utf-8", "surrogatepass")


def _spread(text: str, count: int) -> list[str]:
    """``text`` as ``count`` pieces: tokens whose text came with another one's are empty."""
    if not text:
        return [""] * count
    return [text, *[""] * (count - 1)]


def token_borders(tokenizer: PreTrainedTokenizerBase) -> Split:
    """Cuts a text where ``tokenizer`` would; the pieces together are the text again."""

    def split(text: str) -> list[str]:
        marked = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        # What lies between two tokens, as spaces may, belongs to the later one.
        ends = [end for _, end in marked["offset_mapping"]][:-1]
        cuts = [0, *ends, len(text)]
        return [text[start:stop] for start, stop in pairwise(cuts)] if text else []

    return split
