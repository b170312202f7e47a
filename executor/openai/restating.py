"""Answers that go on though the server cannot continue them.

The text so far is restated at the end of the user's message, with the request to go on after it.
What then arrives may begin with the last words of that text, or with all of it: these are taken
away. And it begins, as answers do, without the space that belongs between two words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from executor.openai.vocabularies import TextPieces
from executor.tokens.chat_template import GO_ON

# Of a text that breaks off while it may still be a repetition, so many words are no chance.
AGAIN = 3
# A word of so many letters with which a longer one begins was cut off there.
LEAST_PART = 4
_WORD = re.compile(r"\S+")
_LETTER = re.compile(r"[^\W\d_]")
ENDS = frozenset(".,;:!?)]}”’\"'%…")
OPENS = frozenset("([“‘")


def restated(prompt: str, so_far: str) -> str:
    """The user's message; ``prompt`` ends where the answer begins."""
    return prompt + so_far + GO_ON


class Seam:
    """Where an answer goes on after ``so_far``: what was said there already becomes empty tokens.

    The server wrote and counts them, so they are tokens as others are. Tokens are held back only
    while they may be the beginning of a repetition.
    """

    def __init__(self, so_far: str, pieces: TextPieces) -> None:
        self._so_far = so_far
        self._said = so_far.rstrip()
        self._starts = [found.start() for found in _WORD.finditer(self._said)]
        self._pieces = pieces
        self._held: list[int] = []
        self._is_open = bool(self._starts)

    def pass_on(self, tokens: Sequence[int]) -> list[int]:
        """What can be shown after ``tokens`` came."""
        if not self._is_open:
            return list(tokens)
        self._held += tokens
        new = self._pieces.decode(self._held).lstrip()
        return [] if self._is_within(new) else self._released(self._repeated(new))

    def rest(self) -> list[int]:
        """What is held back though nothing more comes."""
        if not self._is_open:
            return []
        new = self._pieces.decode(self._held).lstrip()
        is_again = len(new.split()) >= AGAIN and self._is_within(new)
        return self._released(len(new) if is_again else self._repeated(new))

    def _is_within(self, new: str) -> bool:
        """Whether ``new`` may go on as, or just was, a repetition from some word on."""
        return any(self._said.startswith(new, start) for start in self._starts)

    def _repeated(self, new: str) -> int:
        """How many letters of ``new`` repeat the end of the text so far."""
        ends = (self._said[start:] for start in self._starts if len(self._said) - start <= len(new))
        return next((len(end) for end in ends if _repeats(new, end)), 0)

    def _released(self, repeated: int) -> list[int]:
        self._is_open = False
        text = self._pieces.decode(self._held)
        space = len(text) - len(text.lstrip())
        gone = space + repeated if repeated else 0
        if self._so_far != self._said:
            gone += len(text[gone:]) - len(text[gone:].lstrip(" "))
        needs_space = not repeated and _run_together(self._so_far, text)
        return list(self._without(gone, " " if needs_space else ""))

    def _without(self, gone: int, more: str) -> Iterator[int]:
        """The held tokens without their first ``gone`` letters, and with ``more`` before them."""
        for token in self._held:
            text = self._pieces.decode([token])
            shown, gone = more + text[gone:], max(0, gone - len(text))
            more = ""
            yield token if shown == text else self._pieces.piece(shown)


class Unseamed:
    """An answer that begins here, or that the server continues: all is shown as it comes."""

    def pass_on(self, tokens: Sequence[int]) -> Sequence[int]:
        return tokens

    def rest(self) -> Sequence[int]:
        return ()


def _repeats(new: str, end: str) -> bool:
    """Whether ``new`` begins with the words ``end``, and not only by chance."""
    if not new.startswith(end):
        return False
    has_words = len(end.split()) > 1 or bool(_LETTER.search(end))
    is_whole = not new[len(end) :][:1].isalnum() or len(end) >= LEAST_PART
    return has_words and is_whole


def _run_together(before: str, after: str) -> bool:
    """Whether the words at a seam would be one; letters of some scripts have no space between."""
    last, first = before[-1:], after[:1]
    is_after_word = last.isalnum() or last in ENDS
    is_wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in last + first)
    return is_after_word and (first.isalnum() or first in OPENS) and not is_wide
