"""Prompts as segments, and the four layouts.

The simulator counts tokens and shared prefixes on segments; the executor turns the same segments
into token ids. A text that does not grow (header, query, labels) is a segment too: its source is
one of the names made by ``header``, ``query``, ``label`` and ``own``.

H header, q query, c_ij tokens of source i shown first in round j, s_j own tokens between rounds:

    rebuild              H, P1 so far, …, PN so far, q, own text
    rebuild_query_first  H, q, P1 so far, …, PN so far, own text
    append_rounds        H, q, c_11 … c_N1, c_12 … c_N2, …, own text
    interleave           H, q, c_11 … c_N1, s_1, c_12 … c_N2, s_2, …
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, takewhile
from typing import NamedTuple

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

    @property
    def tokens(self) -> int:
        return sum(segment.tokens for segment in self.segments)

    def header(self) -> Prompt:
        """The part that is the same for every request of the same agent."""
        return Prompt(tuple(takewhile(lambda s: s.source.startswith("header/"), self.segments)))

    def extended(self, segment: Segment) -> Prompt:
        """The prompt with ``segment`` after it."""
        if not segment.tokens:
            return self
        return Prompt(tuple(_join(iter([*self.segments, segment]))))


def header(agent: str) -> str:
    """Name of the text that opens ``agent``'s prompt."""
    return f"header/{agent}"


def query(agent: str) -> str:
    """Name of the user's query as ``agent`` sees it."""
    return f"query/{agent}"


def label(agent: str, source: str) -> str:
    """Name of the text that tells ``agent`` that ``source`` speaks next."""
    return f"label/{agent}/{source}"


def own(agent: str) -> str:
    """Name of the text after which ``agent``'s own text stands."""
    return f"own/{agent}"


def fixed_names(agent: str, sources: Sequence[str]) -> list[str]:
    """Names of all texts in ``agent``'s prompt that do not grow."""
    return [header(agent), query(agent), own(agent), *(label(agent, name) for name in sources)]


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
    drawer = _Drawer(agent, tuple(sources), tuple(rounds), written, fixed_tokens)
    return Prompt(tuple(_join(segment for segment in drawer.draw(layout) if segment.tokens)))


@dataclass(frozen=True)
class _Drawer:
    agent: str
    sources: tuple[str, ...]
    rounds: tuple[Round, ...]
    written: int
    fixed_tokens: Mapping[str, int]

    def draw(self, layout: Layout) -> Iterator[Segment]:
        head, question = self._fixed(header(self.agent)), self._fixed(query(self.agent))
        if layout == "rebuild":
            return iter([head, *self._so_far(), question, *self._own(0, self.written)])
        body = {
            "rebuild_query_first": self._rebuilt,
            "append_rounds": self._appended,
            "interleave": self._interleaved,
        }[layout]
        return iter([head, question, *body()])

    def _rebuilt(self) -> list[Segment]:
        return [*self._so_far(), *self._own(0, self.written)]

    def _appended(self) -> list[Segment]:
        chunks = [piece for before, now in self._pairs() for piece in self._chunk(before, now)]
        return [*chunks, *self._own(0, self.written)]

    def _interleaved(self) -> list[Segment]:
        pieces: list[Segment] = []
        ends = [*(this.written for this in self.rounds[1:]), self.written]
        for (before, now), stop in zip(self._pairs(), ends, strict=True):
            chunk = self._chunk(before, now)
            written = self._own(now.written, stop)
            pieces += [*chunk, *(written if chunk or not pieces else written[1:])]
        return pieces or self._own(0, self.written)

    def _pairs(self) -> list[tuple[Round, Round]]:
        nothing = Round((0,) * len(self.sources), 0)
        return list(pairwise([nothing, *self.rounds]))

    def _so_far(self) -> list[Segment]:
        pairs = self._pairs()
        return self._chunk(pairs[0][0], pairs[-1][1]) if pairs else []

    def _chunk(self, before: Round, now: Round) -> list[Segment]:
        pieces: list[Segment] = []
        sources = zip(self.sources, self._labels, before.read, now.read, strict=True)
        for source, name, start, stop in sources:
            if stop > start:
                pieces += [name, Segment(source, start, stop)]
        return pieces

    @cached_property
    def _labels(self) -> list[Segment]:
        return [self._fixed(label(self.agent, source)) for source in self.sources]

    def _own(self, start: int, stop: int) -> list[Segment]:
        return [self._fixed(own(self.agent)), Segment(self.agent, start, stop)]

    def _fixed(self, name: str) -> Segment:
        return Segment(name, 0, self.fixed_tokens.get(name, 0))


def _join(segments: Iterator[Segment]) -> Iterator[Segment]:
    """Neighbours that continue each other become one, so that equal texts have equal segments."""
    last: Segment | None = None
    for segment in segments:
        if last and last.source == segment.source and last.stop == segment.start:
            last = Segment(last.source, last.start, segment.stop)
            continue
        if last:
            yield last
        last = segment
    if last:
        yield last


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
