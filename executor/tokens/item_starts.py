"""Where the items of a text begin, as it is written."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from executor.tokens.streaming_text import StreamingText


class ItemStarts:
    """Finds the matches of a pattern in a text as it grows.

    A match counts as it is when the text has so many characters that there is one; the next is
    looked for behind it. So the same text has the same items whatever the pieces that it came in.
    """

    def __init__(self, pattern: str, decode: Callable[[Sequence[int]], str]) -> None:
        self._pattern = re.compile(pattern)
        self._decode = decode
        self._forget()

    def _forget(self) -> None:
        self._text = StreamingText(self._decode)
        # Characters of the text that are there with each token.
        self._ends: list[int] = []
        self._begin = 0

    @property
    def tokens(self) -> int:
        """Of the text so far."""
        return len(self._ends)

    def cut(self, ids: Sequence[int]) -> None:
        """Only ``ids`` of the text are left."""
        self._forget()
        for count in range(1, len(ids) + 1):
            self.update(ids[:count])

    def update(self, ids: Sequence[int]) -> list[int]:
        """Tokens before each item that is seen to begin since the last update.

        All tokens so far are given, one more than the last time. A token that reaches into an item
        belongs to it.
        """
        before = len(self._text.text)
        self._text.update(ids)
        self._ends.append(len(self._text.text))
        return [self._tokens_before(start) for start in self._starts(before)]

    def _starts(self, before: int) -> Iterator[int]:
        """Characters before each item that is seen in what came after ``before`` characters."""
        text = self._text.text
        for end in range(before + 1, len(text) + 1):
            while found := self._pattern.search(text, self._begin, end):
                self._begin = max(found.end(), found.start() + 1)
                yield found.start()

    def _tokens_before(self, start: int) -> int:
        if start == 0:
            return 0
        token = bisect_left(self._ends, start)
        return token + (self._ends[token] == start)
