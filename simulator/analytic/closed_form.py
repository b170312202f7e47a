"""A request that is alone on its engines, under many staircases at once: exact, without events.

    form = closed_form(pipeline, schedule, engines, request)  # simulator.analytic.request_form
    times = form.play(constant_candidates(first, chunk, write))

For pipelines of two levels: sources that read nobody, and the answer, which reads them all. Where
nobody else is there, a source's times do not depend on its reader, and a max-plus recurrence over
the reader's steps says all, in integers, to the picosecond as ``simulator.des.simulate`` does:

    start_k = max(end_{k−1}, max_i T_i(read_k))
    end_k   = start_k + call + prefill(cached_k, prompt_k) + decode(prompt_k, outputs_k)

T_i(n): source i has n tokens, or has ended. What a step writes, and whether it is the last, is as
in ``staircase.conductor``; its prompt is as in ``staircase.prompt``. The prefix cache holds what
the request left there itself. No earlier text has more in common with a prompt than the text of
the step before, whose blocks are the last to be evicted, so that text alone says what is cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from simulator.analytic.alone import AloneEngine
from simulator.analytic.candidates import Candidates
from simulator.analytic.source_levels import SourceLevels
from staircase.errors import ScheduleError
from staircase.schedule import Layout

# An int64 array.
Ints = Any

# Candidates that are played together: enough to make Python's share small, and few enough for
# their arrays to stay in a CPU's cache.
SLICE = 1 << 15


@dataclass(frozen=True)
class AloneTimes:
    """What became of each candidate; times count from the request's arrival.

    Attributes:
        ttft_ps, e2e_ps: the answer's first and last token.
        completed_ps: the answer is known to be complete.
        calls: steps that the answer played.
        prefilled_tokens: of the whole request, its sources too.
        smooth_start_ps: from when on a reader of the answer never waits.
        unread: share of the answer's sources that it had not read, as in ``simulator.unread``.
        start_ps, end_ps: [candidates, steps] of each step that was played, else -1; if asked for.
    """

    ttft_ps: Ints
    e2e_ps: Ints
    completed_ps: Ints
    calls: Ints
    prefilled_tokens: Ints
    smooth_start_ps: Ints
    unread: Any
    start_ps: Ints | None = None
    end_ps: Ints | None = None


class Answer(NamedTuple):
    """The answer's texts in tokens: ``head``, ``query``, ``own`` and ``turn`` do not grow; ``left``
    is what it would write."""

    layout: Layout
    head: int
    query: int
    own: int
    turn: int
    left: int
    max_tokens: int
    ends_with_stop: bool


@dataclass
class _States:
    """States of answers that are not complete: a row of every array is one candidate's.

    Attributes:
        rows: numbers of the candidates.
        level: read so far.
        labels: tokens of all labels in the prompt.
        written: tokens of the answer.
        computed: tokens of the text that have KV.
        end_ps: of the last call.
        prefilled: tokens.
    """

    rows: Ints
    level: Ints
    labels: Ints
    written: Ints
    computed: Ints
    end_ps: Ints
    prefilled: Ints

    @staticmethod
    def of(rows: Ints) -> _States:
        return _States(rows, *(np.zeros(len(rows), dtype=np.int64) for _ in fields(_States)[1:]))

    def only(self, which: Ints) -> _States:
        return _States(*(getattr(self, field.name)[which] for field in fields(self)))


class _Calls(NamedTuple):
    """The next call of each answer.

    Attributes:
        goal, outputs: tokens that it writes, and iterations that give them and its end.
        is_over: whether the answer is complete with it.
    """

    level: Ints
    prompt: Ints
    cached: Ints
    goal: Ints
    outputs: Ints
    is_over: Any


class _Steps(NamedTuple):
    """When step ``number`` of the candidates in ``rows`` was played."""

    number: int
    rows: Ints
    start_ps: Ints
    end_ps: Ints


@dataclass(frozen=True)
class ClosedForm:
    """One request on its engines; made by ``simulator.analytic.request_form``."""

    _answer: Answer
    _sources: SourceLevels
    _engine: AloneEngine
    _reader_ps: int

    def play(
        self, candidates: Candidates, keeps_steps: bool = False, token_ps: Ints | None = None
    ) -> AloneTimes:
        """Plays every candidate.

        Args:
            keeps_steps: keep when each step started and ended.
            token_ps: [candidates, answer tokens], to be filled with when each was there.

        Raises:
            ScheduleError: a candidate's call does not fit into the engine's KV.
        """
        found = _nothing_yet(len(candidates))
        steps: list[_Steps] | None = [] if keeps_steps else None
        for first in range(0, len(candidates), SLICE):
            rows = np.arange(first, min(first + SLICE, len(candidates)))
            self._play_slice(candidates, rows, found, steps, token_ps)
        return found if steps is None else _with_steps(found, steps)

    def _play_slice(
        self,
        candidates: Candidates,
        rows: Ints,
        found: AloneTimes,
        steps: list[_Steps] | None,
        token_ps: Ints | None,
    ) -> None:
        states, number = _States.of(rows), 0
        while len(states.rows):
            calls = self._next_calls(number, *candidates.step(number, states.rows), states)
            start_ps = np.maximum(states.end_ps, self._sources.ready(states.rows, calls.level))
            first_ps = start_ps + self._engine.first_ps(calls.cached, calls.prompt)
            if number == 0:
                found.ttft_ps[states.rows] = first_ps
            self._note_reading(calls, first_ps, states, found)
            if token_ps is not None:
                self._fill_tokens(calls, first_ps, states, token_ps)
            self._end(calls, first_ps, states, found, number)
            if steps is not None:
                steps.append(_Steps(number, states.rows, start_ps, states.end_ps))
            if np.any(calls.is_over):
                states = states.only(np.flatnonzero(~calls.is_over))
            number += 1

    def _next_calls(self, number: int, reads: Ints, writes: Ints, states: _States) -> _Calls:
        level = np.minimum(reads, self._sources.all_read)
        # A source that ended at the level before does not grow when its end is read.
        grows = (level > states.level) & (states.level < self._sources.all_read - 1)
        shared = self._shared(grows, states)
        states.labels += np.where(grows, self._new_labels(number, states), 0)
        fixed = self._answer.head + self._answer.query + self._answer.own
        prompt = self._sources.read_tokens[level] + states.labels + states.written + fixed
        writing = self._writing(level, writes, states.written)
        calls = _Calls(level, prompt, self._engine.cached(shared), *writing)
        self._check_kv(calls, states.rows)
        return calls

    def _new_labels(self, number: int, states: _States) -> Ints:
        """Tokens of the labels of a round that shows something new."""
        labels = self._sources.new_labels[states.level]
        # The first of the own labels stands in every prompt.
        is_split = self._answer.layout == "interleave" and number > 0
        return labels + self._answer.turn + self._answer.own if is_split else labels

    def _shared(self, grows: Any, states: _States) -> Ints:
        """Computed tokens that the prompt has in common with the text of the step before.

        The last token of a text has no KV, so no prompt is cached to its end.
        """
        answer, sources = self._answer, self._sources
        if not self._engine.block_tokens or answer.layout == "interleave":
            return states.computed
        if answer.layout == "append_rounds":
            kept = answer.head + answer.query + sources.read_tokens[states.level] + states.labels
        elif answer.layout == "rebuild_query_first":
            kept = answer.head + answer.query + sources.kept_tokens[states.level]
        else:
            kept = answer.head + sources.kept_tokens[states.level]
        return np.where(grows, np.minimum(kept, states.computed), states.computed)

    def _writing(self, level: Ints, writes: Ints, written: Ints) -> tuple[Ints, Ints, Any]:
        """``goal``, ``outputs`` and ``is_over`` of calls."""
        is_last = level == self._sources.all_read
        room = self._answer.max_tokens - written
        limit = np.where(is_last, room, np.minimum(writes, room))
        left = self._answer.left - written
        goal = np.minimum(left, limit)
        ends_early = left < limit
        ends_apart = ends_early & (self._answer.ends_with_stop | (goal == 0))
        return goal, goal + ends_apart, is_last | ends_early | (goal == room)

    def _check_kv(self, calls: _Calls, rows: Ints) -> None:
        limit = self._engine.kv_tokens
        if limit is None:
            return
        tokens = calls.prompt + calls.goal
        if np.any(tokens > limit):
            place = int(np.argmax(tokens))
            raise ScheduleError(
                f"candidate {rows[place]}: a call of the answer needs KV for {tokens[place]} "
                f"tokens, a replica has room for {limit}"
            )

    def _note_reading(
        self, calls: _Calls, first_ps: Ints, states: _States, found: AloneTimes
    ) -> None:
        """What was unread, and from when on a reader keeps up with a call's tokens."""
        rows, goal = states.rows, calls.goal
        smooth_ps = self._late_ps(calls, first_ps) - self._reader_ps * states.written
        before_ps = found.smooth_start_ps[rows]
        found.smooth_start_ps[rows] = np.where(
            goal > 0, np.maximum(before_ps, smooth_ps), before_ps
        )
        whole = self._sources.read_tokens[-1]
        if whole:
            left = 1 - self._sources.read_tokens[calls.level] / whole
            written = max(1, min(self._answer.left, self._answer.max_tokens))
            found.unread[rows] += left * goal / written

    def _late_ps(self, calls: _Calls, first_ps: Ints) -> Ints:
        """The smooth start of each call's tokens.

        Iterations do not become faster with context, so what a reader waits for a token less what
        the tokens before it took to read is greatest at the first token or the last one.
        """
        last = np.maximum(calls.goal, 1) - 1
        decode_ps = self._engine.decode_ps
        last_ps = first_ps + decode_ps[calls.prompt + last] - decode_ps[calls.prompt]
        return np.maximum(first_ps, last_ps - self._reader_ps * last)

    def _fill_tokens(self, calls: _Calls, first_ps: Ints, states: _States, token_ps: Ints) -> None:
        each = np.repeat(np.arange(len(states.rows)), calls.goal)
        own = np.arange(len(each)) - np.repeat(np.cumsum(calls.goal) - calls.goal, calls.goal)
        decode_ps, prompts = self._engine.decode_ps, calls.prompt[each]
        token_ps[states.rows[each], states.written[each] + own] = (
            first_ps[each] + decode_ps[prompts + own] - decode_ps[prompts]
        )

    def _end(
        self, calls: _Calls, first_ps: Ints, states: _States, found: AloneTimes, number: int
    ) -> None:
        """Ends the calls of step ``number``, and the answers that are complete."""
        decode_ps = self._engine.decode_ps
        base_ps = first_ps - decode_ps[calls.prompt]
        computed = calls.prompt + calls.outputs - 1
        end_ps = base_ps + decode_ps[computed]
        states.prefilled += calls.prompt - calls.cached
        over = np.flatnonzero(calls.is_over)
        if len(over):
            rows, goal = states.rows[over], calls.goal[over]
            token_ps = base_ps[over] + decode_ps[calls.prompt[over] + np.maximum(goal, 1) - 1]
            # A call that only ends the answer writes nothing: the last token is that before it.
            found.e2e_ps[rows] = np.where(goal > 0, token_ps, states.end_ps[over])
            found.completed_ps[rows] = end_ps[over]
            found.calls[rows] = number + 1
            found.prefilled_tokens[rows] = states.prefilled[over] + self._sources.prompt_tokens
        states.level, states.computed, states.end_ps = calls.level, computed, end_ps
        states.written += calls.goal


def _nothing_yet(candidates: int) -> AloneTimes:
    ttft, e2e, completed, calls, prefilled, smooth_start = (
        np.zeros(candidates, dtype=np.int64) for _ in range(6)
    )
    unread = np.zeros(candidates)
    return AloneTimes(ttft, e2e, completed, calls, prefilled, smooth_start, unread)


def _with_steps(found: AloneTimes, steps: Sequence[_Steps]) -> AloneTimes:
    shape = (len(found.calls), int(np.max(found.calls, initial=0)))
    start_ps, end_ps = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    for step in steps:
        start_ps[step.rows, step.number] = step.start_ps
        end_ps[step.rows, step.number] = step.end_ps
    return replace(found, start_ps=start_ps, end_ps=end_ps)
