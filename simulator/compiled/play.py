"""Workloads played as tables of calls by the compiled event loop: fast, for what can be compiled.

    played = play_compiled(pipeline, schedule, engines, workload)   # None: use ``simulate``

The times are those of ``simulator.des.simulate``, to the picosecond.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.compiled.call_tables import TextNumbers
from simulator.compiled.loop_state import LoopState, make_loop, with_slots
from simulator.compiled.replica_pool import ReplicaPool, make_pool, next_event, with_space
from simulator.compiled.results import PlayedTables
from simulator.compiled.table_loop import FINISHED, NEEDS_SPACE, play
from simulator.compiled.workload_tables import WorkloadTables, tables_of
from simulator.core.calls import Calls, grown, make_calls
from simulator.core.integrity import check_over
from simulator.core.iterations import NEVER
from simulator.core.replica import BUSY
from simulator.des.batching import BatchingSetup
from simulator.engine import EngineSetup
from staircase.pipeline import Pipeline
from staircase.prompt import header
from staircase.schedule import Schedule
from staircase.workload import Workload, too_long

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

# Calls that may be open at first; doubled when there are more.
CALLS = 1024
# Events after which an interrupt is heeded; a slice takes some hundredths of a second.
SLICE = 1 << 15


def play_compiled(
    pipeline: Pipeline,
    schedule: Schedule,
    engines: Mapping[str, EngineSetup],
    workload: Workload,
    *,
    keeps_all_times: bool = False,
) -> PlayedTables | None:
    """Plays a workload; None if only ``simulate`` can.

    Args:
        keeps_all_times: keep when each token of every agent was there, not only of the answer.

    Raises:
        WorkloadError: a request does not say how much some agent writes, or all together take too
            long.
    """
    workload.check(pipeline)
    if (
        pipeline.inputs
        or pipeline.has_peers
        or pipeline.votes
        or pipeline.has_forks
        or schedule.checks
        or any(request.thinks for request in workload.requests)
    ):
        return None
    setups = [engines[name] for name in pipeline.engines]
    batching = [setup for setup in setups if isinstance(setup, BatchingSetup)]
    if len(batching) < len(setups) or not _have_own_devices(batching):
        return None
    texts = None
    if any(_caches_prefixes(setup) for setup in batching):
        texts = TextNumbers(_private_headers(pipeline, batching))
        if texts.private and any(request.parts for request in workload.requests):
            return None
    tables = tables_of(pipeline, schedule, workload.requests, texts)
    if tables is None:
        return None
    match = _Match.open(tables, batching, workload, keeps_all_times)
    if not match.fits:
        return None
    match.run()
    return match.played()


def _have_own_devices(setups: Sequence[BatchingSetup]) -> bool:
    """Whether nobody takes turns with another replica."""
    users = Counter[str]()
    for setup in setups:
        if setup.device is not None:
            users[setup.device] += setup.replicas
    return all(count == 1 for count in users.values())


def _private_headers(pipeline: Pipeline, setups: Sequence[BatchingSetup]) -> set[str]:
    """Those of agents whose engines do not find them in other requests' caches."""
    by_engine = dict(zip(pipeline.engines, setups, strict=True))
    return {
        header(agent.name)
        for agent in pipeline
        if not by_engine[agent.engine].limits.shares_headers
    }


@dataclass
class _Match:
    """A loop under way: what grows while it is played."""

    tables: WorkloadTables
    setups: Sequence[BatchingSetup]
    loop: LoopState
    pool: ReplicaPool
    calls: Calls

    @staticmethod
    def open(
        tables: WorkloadTables,
        setups: Sequence[BatchingSetup],
        workload: Workload,
        keeps_all_times: bool,
    ) -> _Match:
        pool = make_pool(
            [[setup.make_replica() for _ in range(setup.replicas)] for setup in setups],
            [setup.routing == "affine" for setup in setups],
            [setup.call_ps for setup in setups],
            CALLS,
        )
        loop, times = make_loop(tables, setups, workload, keeps_all_times)
        match = _Match(tables, setups, loop, pool, make_calls(0, 0, 0, times))
        match._grow(max(CALLS, 2 * match._spare))
        return match

    @property
    def fits(self) -> bool:
        """Whether every call can be computed; raises WorkloadError for endless ones."""
        agents, rows = self.loop.agents, self.loop.tables.rows[:-1]
        for number, setup in enumerate(self.setups):
            own = rows[agents.engine[self._agents] == number]
            tokens = int((own["prompt"] + own["goal"]).max(initial=0))
            engine = self.tables.pipeline.engines[number]
            setup.check_call(tokens, f"engine {engine!r}")
            if tokens > setup.limits.longest_call:
                return False
        return True

    @property
    def _agents(self) -> Ints:
        """The agent of each row."""
        counts = np.diff(self.loop.tables.agent_rows)
        return np.repeat(np.arange(len(counts)) % len(self.loop.agents.engine), counts)

    @property
    def _spare(self) -> int:
        """Calls that one event may start."""
        return (len(self.pool.named) + 1) * len(self.loop.agents.engine)

    def run(self) -> None:
        while (state := play(self.loop, self.pool, self.calls, SLICE)) != FINISHED:
            if state == NEEDS_SPACE:
                self._grow(2 * len(self.loop.slots))
        if next_event(self.pool)[0] < NEVER:
            raise too_long()
        requests = self.loop.requests
        is_over = (requests["is_done"] == 1) & (requests["open_calls"] == 0)
        check_over(int(is_over.sum()), len(requests))

    def _grow(self, slots: int) -> None:
        """Room for so many open calls."""
        rows, before = self.loop.tables.rows, len(self.loop.slots)
        longest = int(np.max(rows["prompt"] + rows["goal"]))
        blocks = max((_blocks(setup, longest) for setup in self.setups), default=0)
        hashes = max((_hashes(setup, longest) for setup in self.setups), default=0)
        self.calls = grown(self.calls, slots, slots * hashes, slots * blocks, 0)
        self.calls.hash_start[:slots] = np.arange(slots) * hashes
        self.calls.table_start[:slots] = np.arange(slots) * blocks
        self.pool = with_space(self.pool, slots)
        self.loop = with_slots(self.loop, before, slots)

    def played(self) -> PlayedTables:
        return PlayedTables(
            self.tables,
            self.loop.times,
            self.loop.requests,
            self.loop.roles,
            self.loop.records,
            self.calls.times_ps,
            self._busy_ps(),
        )

    def _busy_ps(self) -> dict[str, list[int]]:
        firsts = self.pool.first_replica.tolist()
        busy = self.pool.now[:, BUSY].tolist()
        names = self.tables.pipeline.engines
        return {name: busy[firsts[n] : firsts[n + 1]] for n, name in enumerate(names)}


def _blocks(setup: BatchingSetup, tokens: int) -> int:
    """Cells that a call's KV blocks need."""
    return 0 if setup.limits.blocks is None else -(-(tokens + 1) // setup.limits.block_tokens)


def _hashes(setup: BatchingSetup, tokens: int) -> int:
    return tokens // setup.limits.block_tokens if _caches_prefixes(setup) else 0


def _caches_prefixes(setup: BatchingSetup) -> bool:
    return setup.limits.blocks is not None and setup.limits.prefix_caching
