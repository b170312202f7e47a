"""What a call's text may go on with: a model checks it in one pass, and only what it says stays.

A guess is kept while it is the very token that is chosen at its place, so a text does not depend on
what was guessed, be it sampled or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from torch import Tensor

from executor.draws import TextPosition
from executor.engine import EngineCall
from executor.inprocess.prompt_lookup import GrowingText, PromptLookup
from executor.inprocess.sampling import Chooser

# What stands for a guess where passes are measured.
MEASURED_TOKEN = 0
# All logits of a guess are in memory at the same time.
MOST_AT_ONCE = 512


class Guesses:
    """Of one call, as its text grows: what the call says itself while that is right, then lookup.

    Args:
        lookup: None: only what the call says.
        vocabulary_size: tokens from this on are none, and what follows one is not guessed.
    """

    def __init__(self, call: EngineCall, lookup: PromptLookup | None, vocabulary_size: int) -> None:
        lookup = None if call.is_measured else lookup
        said = () if call.is_measured else call.guess
        self._said = list(takewhile(lambda token: 0 <= token < vocabulary_size, said))
        # What the call says of its text is looked up as if it had stood before the prompt.
        self._text = lookup and GrowingText(
            lookup.ngram, lookup.min_ngram, [*self._said, *call.prompt_ids]
        )
        self._most = lookup.tokens if lookup else 0
        self._measured = [MEASURED_TOKEN] * (call.pass_tokens - 1) if call.is_measured else []

    def next(self, most: int) -> list[int]:
        """At most ``most`` tokens."""
        if self._said:
            return self._said[: min(most, MOST_AT_ONCE)]
        if self._measured:
            return self._measured[:most]
        return self._text.guess(min(most, self._most)) if self._text else []

    def add(self, token: int) -> None:
        """The text has gone on with ``token``."""
        self._said = self._said[1:] if self._said[:1] == [token] else []
        if self._text:
            self._text.extend([token])


def agreed(
    chooser: Chooser, left: Tensor, places: Sequence[TextPosition], guess: list[int]
) -> list[int]:
    """The tokens at ``places``: in order, up to the first that is not the one of ``guess``.

    Args:
        left: what ``Chooser.in_pass`` gave for them, one more than ``guess`` has.
    """
    tokens: list[int] = []
    for token, said in zip(chooser.in_order(left, places), [*guess, None], strict=True):
        tokens.append(token)
        if token != said:
            break
    return tokens
