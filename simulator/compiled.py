"""Workloads played as tables of calls by the compiled event loop: fast, for what can be compiled.

    played = play_compiled(pipeline, schedule, engines, workload)   # None: use ``simulate``

The times are those of ``simulator.simulate``, to the picosecond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.batching import BatchingSetup
from simulator.call_tables import CallTables, TableBuilder, readers_of, sources_of
from simulator.calls import Calls, grown, make_calls
from simulator.engine import EngineSetup
from simulator.fleet import Fleet, make_fleet, with_space
from simulator.played import Played
from simulator.replica import BUSY
from simulator.table_loop import (
    FINISHED,
    FREE,
    NEEDS_SPACE,
    NEXT_REQUEST,
    RECORD,
    REQUEST,
    ROLE,
    SOON_COUNT,
    SOON_FIRST,
    Crew,
    Game,
    play,
)
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.workload import Workload

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

# Calls that may be open at first; doubled when there are more.
CALLS = 1024
# Events between two looks at the keyboard and the progress bar.
SLICE = 1 << 18


def play_compiled(
    pipeline: Pipeline,
    schedule: Schedule,
    engines: Mapping[str, EngineSetup],
    workload: Workload,
    *,
    keeps_all_times: bool = False,
    on_slice: Callable[[int], None] = lambda requests: None,
) -> Played | None:
    """Plays a workload; None if only ``simulate`` can.

    Args:
        keeps_all_times: keep when each token of every agent was there, not only of the answer.
        on_slice: hears from time to time how many requests have begun.

    Raises:
        WorkloadError: a request does not say how much some agent writes.
    """
    workload.check(pipeline)
    setups = [engines[name] for name in pipeline.engines]
    batching = [s for s in setups if isinstance(s, BatchingSetup) and s.device is None]
    builder = TableBuilder(pipeline, schedule)
    numbers = [builder.add(request) for request in workload.requests]
    known = [number for number in numbers if number is not None]
    if len(batching) < len(setups) or len(known) < len(numbers):
        return None
    match = _Match.open(builder, batching, workload, np.asarray(known), keeps_all_times)
    if not match.fits:
        return None
    match.run(on_slice)
    return match.played()


@dataclass
class _Match:
    """A game under way: what grows while it is played."""

    builder: TableBuilder
    setups: Sequence[BatchingSetup]
    game: Game
    fleet: Fleet
    calls: Calls

    @staticmethod
    def open(
        builder: TableBuilder,
        setups: Sequence[BatchingSetup],
        workload: Workload,
        numbers: Ints,
        keeps_all_times: bool,
    ) -> _Match:
        fleet = make_fleet(
            [[setup.make_replica() for _ in range(setup.replicas)] for setup in setups],
            [setup.routing == "affine" for setup in setups],
            [setup.call_ps for setup in setups],
            CALLS,
        )
        game, times = _make_game(builder, setups, workload, numbers, keeps_all_times)
        match = _Match(builder, setups, game, fleet, make_calls(0, 0, 0, times))
        match._grow(max(CALLS, 2 * match._spare))
        return match

    @property
    def fits(self) -> bool:
        """Whether every call fits into a replica's KV."""
        crew, rows = self.game.crew, self.game.tables.rows[:-1]
        for number, setup in enumerate(self.setups):
            own = rows[crew.engine[self._agents] == number]
            tokens = own["prompt"] + own["goal"]
            blocks = setup.limits.blocks
            if blocks is not None and np.any(tokens > blocks * setup.limits.block_tokens):
                return False
        return True

    @property
    def _agents(self) -> Ints:
        """The agent of each row."""
        counts = np.diff(self.game.tables.agent_rows)
        return np.repeat(np.arange(len(counts)) % len(self.game.crew.engine), counts)

    @property
    def _spare(self) -> int:
        """Calls that one event may start."""
        return (len(self.fleet.named) + 1) * len(self.game.crew.engine)

    def run(self, on_slice: Callable[[int], None]) -> None:
        while (state := play(self.game, self.fleet, self.calls, SLICE)) != FINISHED:
            if state == NEEDS_SPACE:
                self._grow(2 * len(self.game.slots))
            on_slice(int(self.game.cells[0]))

    def _grow(self, slots: int) -> None:
        """Room for so many open calls."""
        rows, before = self.game.tables.rows, len(self.game.slots)
        longest = int(np.max(rows["prompt"] + rows["goal"]))
        blocks = max((_blocks(setup, longest) for setup in self.setups), default=0)
        hashes = max((_hashes(setup, longest) for setup in self.setups), default=0)
        self.calls = grown(self.calls, slots, slots * hashes, slots * blocks, 0)
        self.calls.hash_start[:slots] = np.arange(slots) * hashes
        self.calls.table_start[:slots] = np.arange(slots) * blocks
        self.fleet = with_space(self.fleet, slots)
        self.game = _with_slots(self.game, before, slots)

    def played(self) -> Played:
        return Played(
            self.builder.pipeline,
            self.builder.calls,
            self.game.tables,
            self.game.times,
            self.game.requests,
            self.game.roles,
            self.game.records,
            self.calls.times_ps,
            self._busy_ps(),
        )

    def _busy_ps(self) -> dict[str, list[int]]:
        firsts = self.fleet.first_replica.tolist()
        busy = self.fleet.now[:, BUSY].tolist()
        names = self.builder.pipeline.engines
        return {name: busy[firsts[n] : firsts[n + 1]] for n, name in enumerate(names)}


def _blocks(setup: BatchingSetup, tokens: int) -> int:
    """Cells that a call's KV blocks need."""
    return 0 if setup.limits.blocks is None else -(-(tokens + 1) // setup.limits.block_tokens)


def _hashes(setup: BatchingSetup, tokens: int) -> int:
    is_cached = setup.limits.blocks is not None and setup.limits.prefix_caching
    return tokens // setup.limits.block_tokens if is_cached else 0


def _with_slots(game: Game, before: int, slots: int) -> Game:
    """The game with more rows of ``Calls`` to give away."""
    free = int(game.cells[FREE])
    stack = np.zeros(slots, dtype=np.int64)
    stack[:free] = game.slots[:free]
    stack[free : free + slots - before] = np.arange(before, slots)
    game.cells[FREE] = free + slots - before
    occupants = np.zeros(slots, dtype=np.int64)
    occupants[:before] = game.occupants
    count, first = int(game.cells[SOON_COUNT]), int(game.cells[SOON_FIRST])
    soon = np.zeros(max(2 * slots, len(game.soon)), dtype=np.int64)
    soon[:count] = game.soon[(first + np.arange(count)) % len(game.soon)]
    game.cells[SOON_FIRST] = 0
    return game._replace(slots=stack, occupants=occupants, soon=soon)


def _make_game(
    builder: TableBuilder,
    setups: Sequence[BatchingSetup],
    workload: Workload,
    numbers: Ints,
    keeps_all_times: bool,
) -> tuple[Game, int]:
    """A game, and how many token times it keeps."""
    tables, pipeline = builder.tables(), builder.pipeline
    agents = len(pipeline.order)
    answer = pipeline.order.index(pipeline[pipeline.answer])
    row_times, sizes = _row_times(tables, agents, answer, keeps_all_times)
    times = np.cumsum([0, *sizes[numbers]])
    requests, roles = _make_requests(tables, workload, numbers, times[:-1], agents)
    soon = [] if workload.arrivals_ps is not None else [NEXT_REQUEST] * workload.concurrency
    cells = np.zeros(4, dtype=np.int64)
    cells[SOON_COUNT] = len(soon)
    empty = np.zeros(0, dtype=np.int64)
    game = Game(
        _make_crew(pipeline, setups),
        tables,
        row_times,
        requests,
        roles,
        _make_records(int(np.sum(np.diff(tables.agent_rows[::agents])[numbers]))),
        slots=empty,
        occupants=empty,
        soon=np.asarray(soon, dtype=np.int64),
        cells=cells,
        there=np.zeros(agents, dtype=np.int64),
        wanted=np.zeros(agents, dtype=np.int64),
        texts=builder.texts,
        is_closed=workload.arrivals_ps is None,
        answer=answer,
    )
    return game, int(times[-1])


def _make_crew(pipeline: Pipeline, setups: Sequence[BatchingSetup]) -> Crew:
    engines = [pipeline.engines.index(agent.engine) for agent in pipeline.order]
    priorities = [
        dict(setups[engine].priorities).get(agent.name, 0)
        for engine, agent in zip(engines, pipeline.order, strict=True)
    ]
    return Crew(
        np.asarray(engines, dtype=np.int64),
        np.asarray(priorities, dtype=np.int64),
        *sources_of(pipeline),
        *readers_of(pipeline),
    )


def _row_times(tables: CallTables, agents: int, answer: int, keeps_all: bool) -> tuple[Ints, Ints]:
    """Where each row's token times begin in its request's, and how many a table's requests have."""
    goal = tables.rows["goal"]
    found = np.full(len(goal), -1, dtype=np.int64)
    sizes = []
    for first in range(0, len(tables.agent_rows) - 1, agents):
        start = tables.agent_rows[first if keeps_all else first + answer]
        stop = tables.agent_rows[first + agents if keeps_all else first + answer + 1]
        ends = np.cumsum(goal[start:stop])
        found[start:stop] = ends - goal[start:stop]
        sizes.append(ends[-1])
    return found, np.asarray(sizes, dtype=np.int64)


def _make_requests(
    tables: CallTables, workload: Workload, numbers: Ints, times: Ints, agents: int
) -> tuple[Any, Any]:
    """Rows of type REQUEST and of type ROLE, before anything has happened."""
    requests = np.zeros(len(numbers), dtype=REQUEST)
    arrivals = workload.arrivals_ps
    requests["arrival_ps"] = -1 if arrivals is None else np.asarray(arrivals, dtype=np.int64)
    requests["table"], requests["first_time"] = numbers, times
    sizes = np.diff(tables.agent_rows[::agents])[numbers]
    requests["first_record"] = np.cumsum(sizes) - sizes
    roles = np.zeros((len(numbers), agents), dtype=ROLE)
    roles["row"] = tables.agent_rows[numbers[:, None] * agents + np.arange(agents)]
    inside = roles["row"] - roles["row"][:, :1]
    roles["record"] = requests["first_record"][:, None] + inside
    roles["home"] = -1
    return requests, roles.ravel()


def _make_records(count: int) -> Any:
    records = np.zeros(count, dtype=RECORD)
    records["number"] = records["slot"] = -1
    return records
