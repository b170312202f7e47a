"""Engines of replicas that batch continuously, on SimPy, with the compiled replica core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator.core import iterations
from simulator.core.calls import ENDED, NEW, grown, make_calls
from simulator.core.content import Contents
from simulator.core.cost import Cost
from simulator.core.cost_bounds import check_call
from simulator.core.integrity import check_integrity
from simulator.core.replica import (
    BUSY,
    IDLE,
    RUNNING_COUNT,
    START,
    UNTIL,
    WAITING_COUNT,
    Replica,
    make_replica,
    submit,
    with_room,
)
from simulator.des.device import SimulatedDevice, shared_device
from simulator.des.limits import Limits
from simulator.engine import Key, SimulatedCall, SimulatedListener, first_number
from simulator.event_queue import ARRIVAL, ITERATION_END, Clock, ScheduledEvent
from staircase.errors import WorkloadError
from staircase.play import CallResult

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class BatchingSetup:
    """An engine of equal replicas.

    Attributes:
        routing: a call goes to the replica with the ``least`` unfinished calls, or, ``affine``, to
            the one that its agent's last call of the same request went to.
        priorities: by agent; lower goes first under priority scheduling.
        call_ps: passes before a call reaches its replica: network, tokenisation, queue hop.
        device: name of the device on which all its replicas, and those of other engines that name
            it, take turns; None for a device of its own for each.
        contention: seconds of an iteration in turn with another engine's, over the same alone.
        is_checked: recount the books after every event (slow, for tests).
    """

    cost: Cost
    limits: Limits = field(default_factory=Limits)
    replicas: int = 1
    routing: Literal["least", "affine"] = "least"
    priorities: tuple[tuple[str, int], ...] = ()
    call_ps: int = 0
    device: str | None = None
    contention: float = 1.0
    is_checked: bool = False

    def open(self, env: Clock, shared: dict[str, object]) -> SimulatedBatchingEngine:
        first = first_number(shared, self.replicas)
        if self.device is None:
            devices = [SimulatedDevice(env, first + place) for place in range(self.replicas)]
        else:
            devices = [shared_device(env, shared, self.device, first)] * self.replicas
        return SimulatedBatchingEngine(env, self, first, devices)

    def check_call(self, tokens: int, who: str) -> None:
        """Raise WorkloadError if a call with so many tokens may take too long to be counted."""
        limits = self.limits
        check_call(self.cost, limits.max_num_batched_tokens, limits.max_num_seqs, tokens, who)

    def make_replica(self) -> Replica:
        """One of its replicas, idle."""
        limits = self.limits
        return make_replica(
            self.cost,
            max_tokens=limits.max_num_batched_tokens,
            max_chunk=limits.max_chunk,
            max_sequences=limits.max_num_seqs,
            blocks=limits.blocks,
            block_tokens=limits.block_tokens,
            caches_prefixes=limits.prefix_caching,
            by_priority=limits.scheduling == "priority",
            is_ahead=limits.async_scheduling,
            chunks_prompts=limits.enable_chunked_prefill,
            prefills_first=limits.prefill_first,
        )


@dataclass(frozen=True)
class _Served:
    call: SimulatedCall
    listener: SimulatedListener
    replica: int


class SimulatedBatchingEngine:
    """Routes calls to replicas and tells their listeners."""

    def __init__(
        self,
        env: Clock,
        setup: BatchingSetup,
        first_number: int,
        devices: Sequence[SimulatedDevice],
    ) -> None:
        self._env = env
        self._setup = setup
        self._calls = _CallTable(setup.limits.block_tokens, setup.limits.blocks is not None)
        self._contents = Contents(setup.limits.shares_headers)
        self._longest = 0
        self._served: dict[int, _Served] = {}
        self._index: dict[Key, int] = {}
        self._homes: dict[tuple[int, str], int] = {}
        self._loops = [
            ReplicaLoop(
                env,
                number,
                setup.make_replica(),
                device,
                self._calls,
                self._notify,
                setup.contention,
                setup.is_checked,
            )
            for number, device in enumerate(devices, first_number)
        ]

    def submit(self, call: SimulatedCall, listener: SimulatedListener) -> None:
        self._check(call)
        priority = dict(self._setup.priorities).get(call.call.agent, 0)
        hashes = None
        if self._setup.limits.blocks is not None and self._setup.limits.prefix_caching:
            hashes = self._contents.hashes(call, self._setup.limits.block_tokens)
        index = self._calls.add(call, priority, hashes)
        number = self._route(call)
        self._index[call.key] = index
        self._served[index] = _Served(call, listener, number)
        if self._setup.call_ps:
            ScheduledEvent(self._env, self._setup.call_ps, ARRIVAL, lambda: self._deliver(index))
        else:
            self._loops[number].submit(index)

    def _deliver(self, index: int) -> None:
        """A call reaches its replica, unless it was cancelled on the way."""
        if index in self._served:
            self._loops[self._served[index].replica].submit(index)

    def _check(self, call: SimulatedCall) -> None:
        limits = self._setup.limits
        tokens = call.call.prompt.tokens + call.goal_tokens
        if tokens > self._longest:
            self._setup.check_call(tokens, repr(call.call.agent))
            self._longest = tokens
        if limits.blocks is not None and tokens > limits.blocks * limits.block_tokens:
            raise WorkloadError(
                f"a call of {call.call.agent!r} needs KV for {tokens} tokens, a replica has "
                f"{limits.blocks} blocks of {limits.block_tokens}: give its engine more kv_blocks"
            )
        if tokens > limits.longest_call:
            raise WorkloadError(
                f"a call of {call.call.agent!r} has {tokens} tokens with its answer, an iteration "
                f"{limits.max_chunk}: give its engine more max_num_batched_tokens, or "
                "enable_chunked_prefill"
            )

    def _route(self, call: SimulatedCall) -> int:
        home = (call.request, call.call.agent)
        least = min(range(len(self._loops)), key=lambda n: (self._loops[n].load, n))
        if self._setup.routing == "affine":
            return self._homes.setdefault(home, least)
        return least

    def cancel(self, key: Key) -> None:
        index = self._index[key]
        if index not in self._served:
            return
        if self._calls.columns.state[index] == NEW:
            self._calls.columns.ended_ps[index] = int(self._env.now)
            self._end(index)
        elif self._loops[self._served[index].replica].cancel(index):
            self._end(index)

    def watch(self, key: Key, tokens: int) -> None:
        index = self._index[key]
        self._loops[self._served[index].replica].watch(index, tokens)

    def tokens_of(self, key: Key) -> int | None:
        index = self._index[key]
        return self._loops[self._served[index].replica].tokens_of(index)

    def busy_ps(self) -> list[int]:
        return [loop.busy_ps for loop in self._loops]

    def close(self) -> None:
        for loop in self._loops:
            loop.close()

    def _notify(self, index: int) -> None:
        """A call reached its watched count, or ended."""
        served, calls = self._served[index], self._calls.columns
        if calls.done[index] == calls.watch[index]:
            served.listener.on_watched(served.call.key, int(self._env.now))
        if calls.state[index] == ENDED:
            self._end(index)

    def _end(self, index: int) -> None:
        served = self._served.pop(index)
        calls = self._calls.columns
        written = min(int(calls.done[index]), int(calls.goal[index]))
        first = int(calls.times_start[index])
        started, ended = int(calls.started_ps[index]), int(calls.ended_ps[index])
        result = CallResult(
            served.call.reason_after(int(calls.done[index])),
            ended if started < 0 else started,
            ended,
            int(calls.busy_ps[index]),
            int(calls.cached[index]),
            token_ps=[int(ps) for ps in calls.times_ps[first : first + written]],
        )
        served.listener.on_end(served.call.key, result)


class ReplicaLoop:
    """Runs one replica core in simulated time, when its device lets it."""

    def __init__(
        self,
        env: Clock,
        number: int,
        replica: Replica,
        device: SimulatedDevice,
        calls: _CallTable,
        notify: Callable[[int], None],
        contention: float,
        is_checked: bool,
    ) -> None:
        self._contention = contention
        self._is_checked = is_checked
        self._env = env
        self._number = number
        self._replica = replica
        self._device = device
        self._calls = calls
        self._notify = notify
        self._events = np.zeros(replica.max_sequences, dtype=np.int64)
        self._end_event: ScheduledEvent | None = None
        device.attach(self)

    @property
    def load(self) -> int:
        return int(self._replica.now[RUNNING_COUNT] + self._replica.now[WAITING_COUNT])

    @property
    def has_work(self) -> bool:
        return self.load > 0

    @property
    def busy_ps(self) -> int:
        return int(self._replica.now[BUSY])

    def close(self) -> None:
        del self._replica

    def submit(self, index: int) -> None:
        self._replica = with_room(self._replica)
        submit(self._replica, self._calls.columns, index, self._now)
        self._check()
        self._device.wake()

    def begin_turn(self, is_alone: bool) -> None:
        iterations.begin(self._replica, self._calls.columns, self._now)
        if not is_alone:
            iterations.cut(self._replica, self._calls.columns, self._now)
            self._stretch()
        self._schedule_end()

    def _stretch(self) -> None:
        """A single iteration, whose end is nowhere computed but in ``until``."""
        now = self._replica.now
        if self._contention != 1:
            now[UNTIL] = now[START] + round(self._contention * int(now[UNTIL] - now[START]))

    def cut(self) -> None:
        iterations.cut(self._replica, self._calls.columns, self._now)
        self._schedule_end()

    def cancel(self, index: int) -> bool:
        """Whether the call ended at once."""
        is_over = bool(iterations.cancel(self._replica, self._calls.columns, index, self._now))
        self._schedule_end()
        return is_over

    def watch(self, index: int, tokens: int) -> None:
        """Stops at ``tokens`` from now on, or at once if they are there."""
        calls = self._calls.columns
        calls.watch[index] = max(tokens, self.tokens_of(index) + 1)
        iterations.cut_at_count(self._replica, calls, index, int(calls.watch[index]))
        self._schedule_end()

    def tokens_of(self, index: int) -> int:
        """A token that is due at this very time is there if the replica's turn has been."""
        until = self._now if self._env.had_turn(ITERATION_END + self._number) else self._now - 1
        return int(iterations.written_by(self._replica, self._calls.columns, index, until))

    @property
    def _now(self) -> int:
        return int(self._env.now)

    def _schedule_end(self) -> None:
        self._check()
        until = int(self._replica.now[UNTIL])
        if self._end_event:
            self._end_event.cancel()
        self._end_event = None
        if until != IDLE:
            delay, priority = until - self._now, ITERATION_END + self._number
            self._end_event = ScheduledEvent(self._env, delay, priority, self._end)

    def _check(self) -> None:
        if self._is_checked:
            check_integrity(self._replica, self._calls.columns, self._now)

    def _end(self) -> None:
        self._end_event = None
        named = iterations.end(self._replica, self._calls.columns, self._events)
        self._check()
        self._device.end_turn()
        for index in self._events[:named].tolist():
            self._notify(index)


class _CallTable:
    """The core's call columns, growing as calls come."""

    def __init__(self, block_tokens: int, uses_blocks: bool) -> None:
        self.columns = make_calls(64, 1024, 1024, 4096)
        self._block_tokens = block_tokens
        self._uses_blocks = uses_blocks
        self._count = self._hashes = self._blocks = self._times = 0

    def add(self, simulated: SimulatedCall, priority: int, hashes: Ints | None) -> int:
        """A new row; returns its number."""
        prompt, goal = simulated.call.prompt.tokens, simulated.goal_tokens
        blocks = -(-(prompt + goal + 1) // self._block_tokens) if self._uses_blocks else 0
        size = 0 if hashes is None else len(hashes)
        self.columns = grown(
            self.columns,
            self._count + 1,
            self._hashes + size,
            self._blocks + blocks,
            self._times + goal,
        )
        columns, row = self.columns, self._count
        columns.prompt[row], columns.goal[row] = prompt, goal
        columns.outputs[row] = simulated.outputs
        columns.priority[row] = priority
        columns.hash_start[row], columns.table_start[row] = self._hashes, self._blocks
        columns.times_start[row] = self._times
        if hashes is not None:
            columns.hashes[self._hashes : self._hashes + size] = hashes
        self._count, self._hashes = row + 1, self._hashes + size
        self._blocks, self._times = self._blocks + blocks, self._times + goal
        return row
