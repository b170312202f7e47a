"""Text as its tokens come: what can be shown of them without taking anything back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Tokens whose text is made again to see what one more adds: a token's text may depend on the few
# before it, as where a letter is spelled in several tokens.
WINDOW = 8
UNFINISHED = "\ufffd"


class StreamingText:
    """The text of one agent.

    Attributes:
        text: what was shown so far.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._shown = 0
        self.text = ""

    def update(self, ids: Sequence[int]) -> str:
        """What the tokens beyond those of the last update add; all tokens so far are given."""
        added = self.rest(ids)
        if added.endswith(UNFINISHED):
            return ""
        self._shown = len(ids)
        self.text += added
        return added

    def rest(self, ids: Sequence[int]) -> str:
        """What they add though it may be unfinished, as a letter is of which a token is missing."""
        start = max(0, self._shown - WINDOW)
        before, now = self._decode(ids[start : self._shown]), self._decode(ids[start:])
        return now[len(before) :] if now.startswith(before) else ""
