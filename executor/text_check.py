"""What an agent wrote on less, checked: its model writes it anew, and it stands while it is alike.

An engine gets the text as a guess, so that what is alike costs a prefill and no decoding. Each
token is chosen with the draw of its place, so sampled texts are checked like greedy ones: what
stands is what would have been written anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class TextCheck:
    """One call's.

    Attributes:
        settled: tokens of the text before those that are checked.
        expected: these, in token ids.
        alike: how many of them were written again so far.
        is_told: how many stand is known, and told.
    """

    settled: int
    expected: Sequence[int]
    alike: int = 0
    is_told: bool = False

    def takes(self, token: int) -> bool:
        """Whether ``token`` is the next that is expected."""
        is_alike = token == self.expected[self.alike]
        self.alike += is_alike
        return is_alike

    @property
    def is_over(self) -> bool:
        return self.alike == len(self.expected)

    @property
    def standing(self) -> int:
        """Tokens of the text that stand by now."""
        return self.settled + self.alike
