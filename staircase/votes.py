"""Votes: of several texts one is taken, by the answers that they cast a ballot for.

    p, samples that are right   P(right | ahead by k) = p^k / (p^k + (1 − p)^k)

where all that are wrong are wrong alike and nothing ends the drawing before (MAKER, arXiv
2511.09030: first to be ahead by k). Majority of all is self-consistency (arXiv 2203.11171).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from staircase.errors import PipelineError


@dataclass(frozen=True)
class Ballot:
    """What a finished text says to the vote that reads it.

    Attributes:
        answer: that it is for; None: it casts no ballot.
        is_discarded: because of a red flag.
        is_right: None where nobody knows the right answer.
    """

    answer: str | None
    is_discarded: bool = False
    is_right: bool | None = None


NO_BALLOT = Ballot(None)
DISCARDED = Ballot(None, is_discarded=True)


@dataclass(frozen=True)
class Vote:
    """How an agent that writes nothing itself finds the ballots of those that it reads.

    Attributes:
        answer: a regular expression; its last match in a text is the answer, of which the first
            group counts, if there is one. Empty: the whole text without the space around it.
        over_tokens: a longer text is discarded.
        matches: a text in which this regular expression is found is discarded.
    """

    answer: str = ""
    over_tokens: int | None = None
    matches: str = ""

    def __post_init__(self) -> None:
        for key, pattern in (("answer", self.answer), ("matches", self.matches)):
            try:
                re.compile(pattern)
            except re.error as error:
                raise PipelineError(
                    f"vote: {key} {pattern!r} is no regular expression: {error}"
                ) from None

    def is_too_long(self, tokens: int) -> bool:
        return self.over_tokens is not None and tokens > self.over_tokens

    def ballot(self, text: str, right: str | None = None) -> Ballot:
        """Of a text that is not too long; ``right`` is the right answer, where it is known."""
        if self.matches and re.search(self.matches, text):
            return DISCARDED
        answer = self._answer(text)
        if answer is None or right is None:
            return Ballot(answer)
        return Ballot(answer, is_right=answer.casefold() == right.strip().casefold())

    def _answer(self, text: str) -> str | None:
        if not self.answer:
            return text.strip() or None
        found = list(re.finditer(self.answer, text))
        if not found:
            return None
        return (found[-1][1 if found[-1].re.groups else 0] or "").strip() or None


@dataclass(frozen=True)
class Count:
    """Of ballots that were counted.

    Attributes:
        winner: the first who is for the answer with the most ballots; of answers with as many, that
            of the first. None: nobody cast a ballot.
        lead: by how many ballots that answer is ahead of every other.
    """

    winner: str | None
    lead: int


def count(ballots: Iterable[tuple[str, str | None]]) -> Count:
    """``ballots``: who, and the answer that it is for, in reading order."""
    cast = [(name, answer) for name, answer in ballots if answer is not None]
    first: dict[str, str] = {}
    for name, answer in cast:
        first.setdefault(answer, name)
    # Counter keeps the order of coming among those with as many.
    ranked = Counter(answer for _, answer in cast).most_common(2)
    if not ranked:
        return Count(None, 0)
    (best, most), *others = ranked
    return Count(first[best], most - (others[0][1] if others else 0))


@dataclass(frozen=True)
class Outcome:
    """What came of a vote.

    Attributes:
        reads: on whose texts it was held.
        winner: whose text was taken; None: nobody cast a ballot.
        answer: that it is for.
        asked: of those that it reads, how many a model began to write.
        cast: ballots that there were when it was decided.
        discarded: texts with a red flag, by then.
        is_right: None where nobody knows.
    """

    reads: tuple[str, ...]
    winner: str | None
    answer: str | None
    asked: int
    cast: int
    discarded: int
    is_right: bool | None

    @staticmethod
    def of(
        reads: tuple[str, ...], winner: str | None, asked: int, ballots: Mapping[str, Ballot]
    ) -> Outcome:
        """``ballots``: by name, of those that had ended when it was decided."""
        own = ballots[winner] if winner else NO_BALLOT
        is_known = any(ballot.is_right is not None for ballot in ballots.values())
        return Outcome(
            reads,
            winner,
            own.answer,
            asked,
            sum(ballot.answer is not None for ballot in ballots.values()),
            sum(ballot.is_discarded for ballot in ballots.values()),
            own.is_right if winner else (False if is_known else None),
        )

    def words(self, name: str) -> str:
        """Of the vote that ``name`` holds."""
        took = f"the text of {self.winner}, for {self.answer!r}" if self.winner else "no text"
        right = {True: ", which is right", False: ", which is wrong", None: ""}
        return (
            f"{name} took {took}{right[self.is_right]}: {self.cast} ballots and {self.discarded} "
            f"discarded texts of {len(self.reads)}, {self.asked} of them begun"
        )
