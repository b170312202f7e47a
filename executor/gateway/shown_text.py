"""The answer as it is shown: it grows by tokens, and may fall back where an input is revised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from executor.gateway.api.chunks import AnswerPiece, Fall
from executor.gateway.stop_texts import StopTexts
from executor.prefix import common_prefix
from executor.tokens.streaming_text import StreamingText


class ShownText:
    """Up to the first of ``stops``.

    Attributes:
        tokens: that were shown, less those that fell.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._decode = decode
        self._wanted_stops = stops
        self._ids: Sequence[int] = ()
        self._begin()

    def _begin(self) -> None:
        self._text = StreamingText(self._decode)
        self._stops = StopTexts(self._wanted_stops)
        self.tokens = 0

    @property
    def is_stopped(self) -> bool:
        """By one of the stop texts."""
        return self._stops.is_found

    def add(self, ids: Sequence[int]) -> str:
        """What one more token adds; all tokens so far are given."""
        self.tokens += 1
        return self._stops.add(self._text.update(ids))

    def become(self, ids: Sequence[int]) -> Iterator[AnswerPiece]:
        """What makes of the text that is shown that of ``ids``."""
        alike = common_prefix(self._ids, ids)
        if alike < len(self._ids):
            yield AnswerPiece(is_token=False, fall=self._fall(ids[:alike]))
        while self.tokens < len(ids) and not self.is_stopped:
            self._ids = ids[: self.tokens + 1]
            yield AnswerPiece(self.add(self._ids))

    def _fall(self, ids: Sequence[int]) -> Fall:
        """What was shown after these tokens is shown when they come again."""
        self._begin()
        self._ids = ids
        shown = sum(len(self.add(ids[:count])) for count in range(1, len(ids) + 1))
        return Fall(shown, len(ids))

    def rest(self, ids: Sequence[int]) -> str:
        """What is left of the whole text, though it may be unfinished."""
        return self._stops.add(self._text.rest(ids)) + self._stops.end()
