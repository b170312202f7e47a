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
        start = max(0, self._shown - WINDOW)
        before, now = self._decode(ids[start : self._shown]), self._decode(ids[start:])
        if now.endswith(UNFINISHED) or not now.startswith(before):
            return ""
        self._shown = len(ids)
        added = now[len(before) :]
        self.text += added
        return added
