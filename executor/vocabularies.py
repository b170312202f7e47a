"""What a token is for an engine behind a server.

Where the server takes and returns token ids, tokens are the model's own. Where it speaks only
text, a token is a piece of text: what one chunk of the stream brought, cut at the model's token
borders if the scenario names its tokenizer. Either way the prompt of a later call is put together
from just the pieces that were shown, so no text is lost, repeated or changed; their number is only
an estimate where a server sends several tokens in a chunk and its tokenizer is unknown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from executor.engine import Tokens
from executor.server_faults import ServerError
from executor.stream_chunks import Chunk
from executor.token_ids import ContentEncoder

Split = Callable[[str], list[str]]
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
    """Pieces of text, numbered as they come; safe to use from several threads."""

    def __init__(
        self,
        vocabulary: str,
        split: Split | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self._split = split
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """Without a tokenizer a text is counted by its words."""
        return self._number(self._split(text) if self._split else _WORD.findall(text))

    def encode_content(self, text: str) -> list[int]:
        """Text goes over the wire as it is: what special tokens are, the server says."""
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._texts[token] for token in ids)

    def spell(self, ids: Sequence[int]) -> str:
        """The server shows or hides them."""
        return self.decode(ids)

    def read(self, chunk: Chunk) -> list[int]:
        if chunk.token_ids is not None:
            return self._number(_spread(chunk.text, self._count(chunk)))
        if not chunk.text:
            return []
        return self._number(self._split(chunk.text) if self._split else [chunk.text])

    @staticmethod
    def _count(chunk: Chunk) -> int:
        """Tokens that the server counts; at the end, one without text is what ends the text."""
        assert chunk.token_ids is not None
        count = len(chunk.token_ids)
        return max(0, count - 1) if chunk.end == "stop" and not chunk.text else count

    def _number(self, pieces: Sequence[str]) -> list[int]:
        with self._lock:
            for piece in pieces:
                if piece not in self._numbers:
                    self._numbers[piece] = len(self._texts)
                    self._texts.append(piece)
            return [self._numbers[piece] for piece in pieces]


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
