"""What a workload that was played as tables of calls came to: timelines, or columns of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from simulator.compiled.call_tables import CallTables
from simulator.compiled.workload_tables import WorkloadTables
from simulator.core.compiling import compiled
from staircase.messages import EndReason
from staircase.metrics.measured import Measured
from staircase.metrics.request_metrics import (
    OF_SOME,
    READING_RATE,
    Floats,
    reader_ps,
)
from staircase.pipeline import Pipeline
from staircase.timeline import PS_PER_S, Span, Timeline, to_s

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

REASONS: tuple[EndReason, ...] = ("stop", "length", "cancelled")
# Gaps between tokens are taken of as many requests as have so many tokens.
MOST_GAPS = 2_000_000


@dataclass(frozen=True)
class PlayedTables:
    """A workload that was played.

    Attributes:
        workload: what was played.
        row_times: of each row of the tables: the first of its cells in a request's token times.
        requests, roles, records: rows of type REQUEST, ROLE and RECORD
        (``simulator.compiled.loop_state``). token_ps: when tokens were there; a request's begin at
        its ``first_time``. busy_ps: by engine, of each replica.
    """

    workload: WorkloadTables
    row_times: Ints
    requests: Any
    roles: Any
    records: Any
    token_ps: Ints
    busy_ps: Mapping[str, Sequence[int]]

    @property
    def pipeline(self) -> Pipeline:
        return self.workload.pipeline

    @property
    def tables(self) -> CallTables:
        return self.workload.tables

    # columns

    def measured(self, reading_rate: float = READING_RATE) -> Measured:
        """As ``staircase.metrics.measured.measure_all`` of the timelines, without making them."""
        firsts, counts = self._answers()
        some = counts > 0
        first, smooth, last = np.full((3, len(counts)), np.nan)
        arrival_ps = self.requests["arrival_ps"]
        first[some] = (self.token_ps[firsts[some]] - arrival_ps[some]) / PS_PER_S
        last[some] = (self.token_ps[(firsts + counts - 1)[some]] - arrival_ps[some]) / PS_PER_S
        stall_ps, gap_ps = np.zeros((2, len(counts)), dtype=np.int64)
        _fill_reading(self.token_ps, firsts, counts, reader_ps(reading_rate), stall_ps, gap_ps)
        smooth_ps = self.token_ps[firsts[some]] - arrival_ps[some] + stall_ps[some]
        smooth[some] = smooth_ps / PS_PER_S
        several = np.where(counts > 1, counts - 1, np.nan)
        return Measured(
            len(counts),
            to_s(int(self.requests["completed_ps"].max() - arrival_ps.min())),
            {
                "ttft_s": first,
                "smooth_start_s": smooth,
                "e2e_s": last,
                "tpot_s": (last - first) / several,
                "stall_s": np.where(some, stall_ps / PS_PER_S, np.nan),
                "longest_gap_s": np.where(counts > 1, gap_ps / PS_PER_S, np.nan),
                **self._of_calls(),
                "answer_tokens": counts.astype(np.float64),
                **self._of_prompts(),
                # What thinks, is checked, guessed, or has inputs or votes, is not played as tables.
                "first_output_s": first,
                "thinking_tokens": np.zeros(len(counts)),
                **{name: np.full(len(counts), np.nan) for name in OF_SOME},
            },
            self._gaps(firsts, counts),
        )

    def _answers(self) -> tuple[Ints, Ints]:
        """Where each answer's times begin in ``token_ps``, and how many there are."""
        agents = len(self.pipeline.order)
        answer = self.pipeline.order.index(self.pipeline[self.pipeline.answer])
        rows = self.tables.agent_rows[self.requests["table"] * agents + answer]
        written = self.roles["written"].reshape(-1, agents)[:, answer]
        return self.requests["first_time"] + self.row_times[rows], written

    def _of_calls(self) -> dict[str, Floats]:
        records = self.records
        queued = records["started_ps"] - records["submitted_ps"]
        return {
            "queued_s": self._sums(queued) / PS_PER_S,
            "busy_s": self._sums(records["busy_ps"]) / PS_PER_S,
        }

    def tokens(self) -> dict[str, tuple[int, int, int]]:
        """By engine: tokens of its calls' prompts that were computed, or cached, and written."""
        records, new = self.records, self._new_tokens()
        found = {}
        for engine in self.pipeline.engines:
            agents = [n for n, one in enumerate(self.pipeline.order) if one.engine == engine]
            own = np.isin(records["agent"], agents)
            found[engine] = (
                int(new[own].sum()),
                int(records["cached"][own].sum()),
                int(records["written"][own].sum()),
            )
        return found

    def _of_prompts(self) -> dict[str, Floats]:
        return {
            "prefilled_tokens": self._sums(self._new_tokens()).astype(np.float64),
            "cached_tokens": self._sums(self.records["cached"]).astype(np.float64),
        }

    def _new_tokens(self) -> Ints:
        """Of each record: tokens of its prompt that were not cached."""
        records = self.records
        prompts = self.tables.rows["prompt"][self._rows_of_records]
        return np.where(records["number"] >= 0, prompts - records["cached"], 0)

    @property
    def _rows_of_records(self) -> Ints:
        """Of each record the row of ``tables`` that it played."""
        agents = len(self.pipeline.order)
        first_rows = self.tables.agent_rows[self.requests["table"] * agents]
        sizes = np.diff([*self.requests["first_record"], len(self.records)])
        shift = np.repeat(first_rows - self.requests["first_record"], sizes)
        return np.asarray(shift + np.arange(len(self.records)))

    def _sums(self, column: Ints) -> Ints:
        """By request."""
        return np.add.reduceat(column, self.requests["first_record"])

    def _gaps(self, firsts: Ints, counts: Ints) -> list[Floats]:
        each = max(1, -(-int(counts.sum()) // MOST_GAPS))
        pairs = zip(firsts[::each].tolist(), counts[::each].tolist(), strict=True)
        return [np.diff(self.token_ps[first : first + count]) / PS_PER_S for first, count in pairs]

    # timelines

    def timelines(self) -> list[Timeline]:
        """As ``simulate`` gives them, if times of all agents were kept."""
        return list(PlayedTimelines(self))

    def timeline(self, request: int) -> Timeline:
        spans = sorted(self._spans(request), key=lambda pair: pair[0].call)
        agents = [agent.name for agent in self.pipeline.order]
        written = self.roles["written"][request * len(agents) : (request + 1) * len(agents)]
        answer_ps = [
            ps for span, times in spans if span.agent == self.pipeline.answer for ps in times
        ]
        return Timeline(
            request,
            int(self.requests["arrival_ps"][request]),
            int(self.requests["completed_ps"][request]),
            tuple(span for span, _ in spans),
            tuple(answer_ps),
            dict(zip(agents, written.tolist(), strict=True)),
        )

    def _spans(self, request: int) -> Iterator[tuple[Span, list[int]]]:
        """Of every call that was started, with the times of its tokens."""
        row = self.requests[request]
        table, record = int(row["table"]), int(row["first_record"])
        rows = self.tables.rows
        wholes = self._whole_texts(table)
        for place, agent in enumerate(self.pipeline.order):
            low, high = self._rows_of(table, place)
            written = 0
            for step, number in enumerate(range(low, high)):
                if self.records["number"][record] >= 0:
                    read = [min(int(rows["level"][number]), wholes[name]) for name in agent.reads]
                    start = int(row["first_time"] + self.row_times[number])
                    made = int(self.records["written"][record])
                    times = self.token_ps[start : start + made].tolist()
                    call = (agent.name, agent.engine, step, tuple(read), written)
                    yield self._span(call, number, self.records[record], times), times
                written += int(rows["goal"][number])
                record += 1

    def _rows_of(self, table: int, place: int) -> tuple[int, int]:
        """The first row of an agent's in a table, and the end."""
        low, high = self.tables.agent_rows[table * len(self.pipeline.order) + place :][:2].tolist()
        return low, high

    def _whole_texts(self, table: int) -> dict[str, int]:
        """Tokens that each agent writes in a table."""
        goal = self.tables.rows["goal"]
        return {
            agent.name: int(goal[slice(*self._rows_of(table, place))].sum())
            for place, agent in enumerate(self.pipeline.order)
        }

    def _span(
        self,
        call: tuple[str, str, int, tuple[int, ...], int],
        row: int,
        record: Any,
        times: Sequence[int],
    ) -> Span:
        return Span(
            int(record["number"]),
            *call,
            int(record["submitted_ps"]),
            int(record["started_ps"]),
            times[0] if times else None,
            int(record["ended_ps"]),
            int(record["busy_ps"]),
            int(self.tables.rows["prompt"][row]),
            int(record["cached"]),
            len(times),
            REASONS[record["reason"]],
        )


class PlayedTimelines(Sequence[Timeline]):
    """The same, each made when it is asked for: of many requests mostly a few are looked at."""

    def __init__(self, played: PlayedTables) -> None:
        self._played = played
        self._made: dict[int, Timeline] = {}

    def __len__(self) -> int:
        return len(self._played.requests)

    @overload
    def __getitem__(self, place: int) -> Timeline: ...

    @overload
    def __getitem__(self, place: slice) -> list[Timeline]: ...

    def __getitem__(self, place: int | slice) -> Timeline | list[Timeline]:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        number = range(len(self))[place]
        if number not in self._made:
            self._made[number] = self._played.timeline(number)
        return self._made[number]

    def __reduce__(self) -> tuple[type[list[Timeline]], tuple[list[Timeline]]]:
        """To other processes they go without what was played."""
        return list, ([*self],)


@compiled
def _fill_reading(
    token_ps: Ints, firsts: Ints, counts: Ints, per_token_ps: int, stall_ps: Ints, gap_ps: Ints
) -> None:
    """By request: ``staircase.metrics.request_metrics.smooth_start`` less the first token's time,
    for a reader who takes a token in ``per_token_ps``; and the longest gap."""
    for request in range(len(firsts)):
        first = firsts[request]
        for token in range(1, counts[request]):
            here = first + token
            late = token_ps[here] - token_ps[first] - token * per_token_ps
            stall_ps[request] = max(stall_ps[request], late)
            gap_ps[request] = max(gap_ps[request], token_ps[here] - token_ps[here - 1])
