"""Prompts as segments, and the four layouts.

The simulator counts tokens and shared prefixes on segments; the executor turns the same segments
into token ids. A text that does not grow (header, query, labels) is a segment too: its source is
one of the names made by ``header``, ``nonce``, ``query``, ``label``, ``own`` and ``turn``.

H header, q query, c_ij tokens of source i shown first in round j, s_j own tokens between rounds:

    rebuild              H, P1 so far, …, PN so far, q, own text
    rebuild_query_first  H, q, P1 so far, …, PN so far, own text
    append_rounds        H, q, c_11 … c_N1, c_12 … c_N2, …, own text
    interleave           H, q, c_11 … c_N1, s_1, c_12 … c_N2, s_2, …

A nonce, where there is one, follows H. Where a format has a text for it (``turn``), that stands
between own text and the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import NamedTuple

from staircase.revisions.standing_text import Pieces, StandingText, numbers
from staircase.schedule import Layout


class Segment(NamedTuple):
    """Tokens ``start`` to ``stop`` of ``source``."""

    source: str
    start: int
    stop: int

    @property
    def tokens(self) -> int:
        return self.stop - self.start


class Round(NamedTuple):
    """Tokens of each source shown up to this round, and own tokens written before it."""

    read: tuple[int, ...]
    written: int


@dataclass(frozen=True)
class Prompt:
    segments: tuple[Segment, ...]

    @cached_property
    def tokens(self) -> int:
        return sum([stop - start for _, start, stop in self.segments])

    def header(self) -> Prompt:
        """The part that is the same for every request of the same agent."""
        return self.beginning(lambda source: source.startswith("header/"))

    def beginning(self, is_wanted: Callable[[str], bool]) -> Prompt:
        """The segments up to the first whose source is not wanted."""
        return Prompt(tuple(takewhile(lambda s: is_wanted(s.source), self.segments)))

    def standing(self, pieces: Mapping[str, Pieces]) -> Prompt:
        """By the numbers of tokens that stand, without those that do not.

        Args:
            pieces: where these are, by agent, of those of whose text not all stands.
        """
        found = list[Segment]()
        for source, start, stop in self.segments:
            whole = [(start, stop)]
            ranges = numbers(pieces[source], start, stop) if source in pieces else whole
            found += [Segment(source, *one) for one in ranges]
        return Prompt(tuple(joined(found)))

    def without_end(self, tokens: int) -> Prompt:
        """The prompt without its last so many tokens."""
        pieces = list(self.segments)
        while tokens:
            source, start, stop = pieces.pop()
            kept = max(stop - start - tokens, 0)
            tokens -= stop - start - kept
            _add(pieces, Segment(source, start, start + kept))
        return Prompt(tuple(pieces))

    def extended(self, segment: Segment) -> Prompt:
        """The prompt with ``segment`` after it."""
        pieces = list(self.segments)
        _add(pieces, segment)
        return Prompt(tuple(pieces))


def header(agent: str) -> str:
    """Name of the text that opens ``agent``'s prompt."""
    return f"header/{agent}"


def nonce(agent: str) -> str:
    """Name of the text after the header by which no other request begins."""
    return f"nonce/{agent}"


def query(agent: str) -> str:
    """Name of the user's query as ``agent`` sees it."""
    return f"query/{agent}"


def label(agent: str, source: str) -> str:
    """Name of the text that tells ``agent`` that ``source`` speaks next."""
    return f"label/{agent}/{source}"


def own(agent: str) -> str:
    """Name of the text after which ``agent``'s own text stands."""
    return f"own/{agent}"


def turn(agent: str) -> str:
    """Name of the text that ends ``agent``'s own text where more of its sources follows."""
    return f"turn/{agent}"


def build_prompt(
    agent: str,
    sources: Sequence[str],
    rounds: Sequence[Round],
    written: int,
    layout: Layout,
    fixed_tokens: Mapping[str, int],
) -> Prompt:
    """The prompt of ``agent`` after ``rounds``, with ``written`` own tokens to continue.

    ``fixed_tokens`` gives the length of each text that does not grow; a missing one is empty.
    """
    return Drawing(agent, tuple(sources), layout, fixed_tokens).prompt(rounds, written)


@dataclass
class Drawing:
    """The prompts of one agent, one after the other: what they begin with alike is drawn once.

    Attributes:
        texts: of those agents whose text does not stand as it was written; rounds count the tokens
            that stand.
        template: by whose name the texts that do not grow go; the agent's if empty.
        skipped: by the name of a source whose beginning need not be shown: how many tokens of it
            are not when so many are read.
    """

    agent: str
    sources: tuple[str, ...]
    layout: Layout
    fixed_tokens: Mapping[str, int]
    texts: Mapping[str, StandingText] = field(default_factory=dict)
    template: str = ""
    skipped: dict[str, Callable[[int], int]] = field(default_factory=dict)
    _rounds: int = 0
    _last: Round | None = None
    _has_chunk: bool = False
    _pieces: list[Segment] = field(default_factory=list)

    def begin_anew(self) -> None:
        """The rounds of the next prompt need not begin with those before."""
        self._rounds, self._last, self._has_chunk, self._pieces = 0, None, False, []

    def prompt(self, rounds: Sequence[Round], written: int) -> Prompt:
        """After ``rounds``, which begin with those of the prompt before."""
        if self.layout in ("rebuild", "rebuild_query_first"):
            return self._rebuilt(rounds, written)
        if not self._pieces:
            self._pieces = joined([*self._head, self._fixed(query(self._named))])
        for this in rounds[self._rounds :]:
            self._show(this)
        pieces = self._pieces.copy()
        _add(pieces, *self._own_after(written))
        return Prompt(tuple(pieces))

    def _rebuilt(self, rounds: Sequence[Round], written: int) -> Prompt:
        question = self._fixed(query(self._named))
        so_far = self._chunk(self._skipped(rounds[-1]), rounds[-1]) if rounds else []
        body = [*so_far, question] if self.layout == "rebuild" else [question, *so_far]
        return Prompt(tuple(joined([*self._head, *body, *self._own(0, written)])))

    def _show(self, this: Round) -> None:
        before = self._last or self._skipped(this)
        chunk = self._chunk(before, this)
        if self.layout == "interleave" and self._last:
            _add(self._pieces, *self._own_after(this.written))
            if chunk:
                _add(self._pieces, self._fixed(turn(self._named)))
        _add(self._pieces, *chunk)
        # The first own text has its label in any case, later ones after something new.
        self._has_chunk = bool(chunk) or not self._last
        self._last, self._rounds = this, self._rounds + 1

    def _own_after(self, written: int) -> list[Segment]:
        """The own text that follows what was shown last."""
        if self.layout == "append_rounds" or not self._last:
            return self._own(0, written)
        pieces = self._own(self._last.written, written)
        return pieces if self._has_chunk else pieces[1:]

    def _chunk(self, before: Round, now: Round) -> list[Segment]:
        pieces: list[Segment] = []
        sources = zip(self.sources, self._labels, before.read, now.read, strict=True)
        for source, name, start, stop in sources:
            if stop > start:
                pieces += [name, *self._standing(source, start, stop)]
        return pieces

    def _skipped(self, now: Round) -> Round:
        """What at the beginning of each source is not shown where ``now`` is the first round."""
        pairs = zip(self.sources, now.read, strict=True)
        begins = (self.skipped[one](read) if one in self.skipped else 0 for one, read in pairs)
        return Round(tuple(begins), 0)

    @property
    def _named(self) -> str:
        return self.template or self.agent

    @cached_property
    def _head(self) -> list[Segment]:
        return [self._fixed(header(self._named)), self._fixed(nonce(self._named))]

    @cached_property
    def _labels(self) -> list[Segment]:
        return [self._fixed(label(self._named, source)) for source in self.sources]

    def _own(self, start: int, stop: int) -> list[Segment]:
        return [self._fixed(own(self._named)), *self._standing(self.agent, start, stop)]

    def _standing(self, source: str, start: int, stop: int) -> list[Segment]:
        if source not in self.texts:
            return [Segment(source, start, stop)]
        return [Segment(source, *piece) for piece in self.texts[source].pieces(start, stop)]

    def _fixed(self, name: str) -> Segment:
        return Segment(name, 0, self.fixed_tokens.get(name, 0))


def joined(segments: Sequence[Segment]) -> list[Segment]:
    """The same text in as few segments as can be."""
    pieces: list[Segment] = []
    _add(pieces, *segments)
    return pieces


def _add(pieces: list[Segment], *segments: Segment) -> None:
    """Neighbours that continue each other become one, so that equal texts have equal segments."""
    for segment in segments:
        source, start, stop = segment
        if stop == start:
            continue
        if pieces and pieces[-1].stop == start and pieces[-1].source == source:
            pieces[-1] = Segment(source, pieces[-1].start, stop)
        else:
            pieces.append(segment)


def common_prefix_tokens(one: Prompt, other: Prompt) -> int:
    """Tokens of the longest common prefix of two prompts of the same request."""
    shared = 0
    for a, b in zip(one.segments, other.segments, strict=False):
        if a.source != b.source or a.start != b.start:
            break
        shared += min(a.tokens, b.tokens)
        if a != b:
            break
    return shared
