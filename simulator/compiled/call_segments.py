"""Of what texts the prompts of many requests consist, piece by piece, in arrays.

It says again what ``staircase.prompt.Drawing`` draws; ``tests/test_call_rows.py`` holds it to that.
A piece may be empty in some requests, and neighbours that continue each other stay apart:
``simulator.core.content`` makes the same hashes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from simulator.compiled.call_tables import TextNumbers
from staircase.pipeline import Agent
from staircase.prompt import header, label, nonce, own, query, turn
from staircase.schedule import Layout

# An int64 array, or one of bools.
Ints = Any
Bools = Any

# A text's number, its first token and its end; the latter two of each request.
Piece = tuple[int, Ints, Ints]


@dataclass(frozen=True)
class FixedLengths:
    """Tokens of the texts of one agent's prompt that do not grow; the last axis is of requests."""

    header: Ints
    nonce: Ints
    query: Ints
    labels: Ints
    own: Ints
    turn: Ints

    def only(self, which: Bools) -> FixedLengths:
        return FixedLengths(*(one[..., which] for one in vars(self).values()))


@dataclass
class Pieces:
    """The prompts of one agent so far, without own text that follows what was shown last.

    Attributes:
        tokens: of them all.
        begun: what stays, in ``append_rounds`` and ``interleave``; only if pieces ``are_kept``.
        has_new: whether the last round showed anything.
    """

    agent: Agent
    layout: Layout
    texts: TextNumbers
    are_kept: bool
    fixed: FixedLengths
    tokens: Ints
    begun: list[Piece]
    has_new: Bools

    @staticmethod
    def open(
        agent: Agent, layout: Layout, texts: TextNumbers, are_kept: bool, fixed: FixedLengths
    ) -> Pieces:
        has_new = np.ones(len(fixed.own), dtype=bool)
        nothing = np.zeros_like(fixed.own)
        pieces = Pieces(agent, layout, texts, are_kept, fixed, nothing, [], has_new)
        pieces._begin([*pieces._head, pieces._query])
        return pieces

    def _begin(self, more: Sequence[Piece]) -> None:
        self.tokens = self.tokens + tokens_of(more)
        if self.are_kept:
            self.begun += more

    @property
    def are_rebuilt(self) -> bool:
        """Whether a round's prompts do not begin with those of the round before."""
        return self.layout in ("rebuild", "rebuild_query_first")

    def only(self, which: Bools) -> Pieces:
        begun = [(text, start[which], stop[which]) for text, start, stop in self.begun]
        fixed, tokens, has_new = self.fixed.only(which), self.tokens[which], self.has_new[which]
        return replace(self, fixed=fixed, tokens=tokens, begun=begun, has_new=has_new)

    def show(self, shown: Ints, read: Ints, written: Ints, before: Ints | None) -> list[Piece]:
        """The prompts after a round in which ``read`` tokens of each source are shown.

        Args:
            shown: [sources, requests], what was before; so is ``read``.
            written: tokens of the own text, ``before`` those at the round before, if there is one.
        """
        if self.are_rebuilt:
            rebuilt = self._rebuilt(read)
            self.tokens = tokens_of(rebuilt)
            return rebuilt
        grows = read > shown
        if self.layout == "interleave" and before is not None:
            self._begin(self._own_between(before, written, np.any(grows, axis=0)))
        if before is not None:
            self.has_new = np.any(grows, axis=0)
        self._begin(self._chunk(shown, read, grows))
        return self.begun

    def own_text(self, start: Ints, stop: Ints) -> list[Piece]:
        """The own text that follows what was shown last, up to ``stop``.

        Args:
            start: its tokens before the last round.
        """
        label_tokens = self.fixed.own
        if self.layout == "interleave":
            label_tokens = label_tokens * self.has_new
        else:
            start = np.zeros_like(stop)
        name = self.agent.name
        return [self._text(own(name), label_tokens), (self.texts[name], start, stop)]

    def _rebuilt(self, read: Ints) -> list[Piece]:
        nothing = np.zeros_like(read)
        so_far = self._chunk(nothing, read, read > 0)
        if self.layout == "rebuild":
            return [*self._head, *so_far, self._query]
        return [*self._head, self._query, *so_far]

    def _own_between(self, start: Ints, stop: Ints, is_new: Bools) -> list[Piece]:
        after = self._text(turn(self.agent.name), self.fixed.turn * is_new)
        return [*self.own_text(start, stop), after]

    def _chunk(self, shown: Ints, read: Ints, grows: Bools) -> list[Piece]:
        pieces: list[Piece] = []
        for place, source in enumerate(self.agent.reads):
            tokens = self.fixed.labels[place] * grows[place]
            pieces.append(self._text(label(self.agent.name, source), tokens))
            pieces.append((self.texts[source], shown[place], read[place]))
        return pieces

    @property
    def _head(self) -> list[Piece]:
        name = self.agent.name
        head = self._text(header(name), self.fixed.header)
        return [head, self._text(nonce(name), self.fixed.nonce)]

    @property
    def _query(self) -> Piece:
        return self._text(query(self.agent.name), self.fixed.query)

    def _text(self, name: str, tokens: Ints) -> Piece:
        return self.texts[name], np.zeros_like(tokens), tokens


def tokens_of(pieces: Sequence[Piece]) -> Ints:
    """Of all of them, by request."""
    return np.sum([stop - start for _, start, stop in pieces], axis=0)


class StepPrompts(NamedTuple):
    """The prompts of one step of an agent in many requests.

    Attributes:
        are_rebuilt: whether the next step's prompts do not begin with these.
        shown_of: of which requests ``shown`` is: of all if prompts ``are_rebuilt``, else of those
            in which no step follows.
        shown: [those requests, segments, 3]: the prompt but for own text after what was shown last.
        own: [requests, 2, 3]: that own text, and what opens it.
    """

    are_rebuilt: bool
    shown_of: Bools
    shown: Ints
    own: Ints


def step_prompts(
    shown: Sequence[Piece], own_text: Sequence[Piece], ends: Bools, are_rebuilt: bool
) -> StepPrompts:
    """Of pieces of every request; ``ends`` are those in which no step follows."""
    of = np.ones_like(ends) if are_rebuilt else ends
    everyone = np.ones_like(ends)
    return StepPrompts(are_rebuilt, of, _rows(shown, of), _rows(own_text, everyone))


def _rows(pieces: Sequence[Piece], which: Bools) -> Ints:
    """[requests, pieces, 3], of the requests ``which``."""
    found = np.empty((int(which.sum()), len(pieces), 3), dtype=np.int64)
    for place, (text, start, stop) in enumerate(pieces):
        found[:, place, 0] = text
        found[:, place, 1] = start[which]
        found[:, place, 2] = stop[which]
    return found


class Segments:
    """The segments of all tables, as they are added."""

    def __init__(self) -> None:
        self._chunks: list[Ints] = [np.zeros((0, 3), dtype=np.int64)]
        self._count = 0

    def add(self, rows: Ints) -> Ints:
        """Adds [requests, segments, 3]; returns where each request's begin."""
        requests, size = rows.shape[:2]
        firsts = self._count + size * np.arange(requests)
        self._chunks.append(rows.reshape(-1, 3))
        self._count += requests * size
        return firsts

    def whole(self) -> Ints:
        return np.concatenate(self._chunks)
