"""A replica simulated iteration by iteration, token by token: slow and obvious.

It says again in plain Python what ``simulator/core/scheduling.py`` and
``simulator/core/iterations.py`` do in compiled code with runs of iterations, and must give the same
integer time for every token.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from simulator.core.cost import at, attention_ps, mixed_attention_ps
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.engine import Key, SimulatedCall, SimulatedListener
from simulator.event_queue import ITERATION_BEGIN, ITERATION_END, Clock, ScheduledEvent
from staircase.play import CallResult


@dataclass(eq=False)
class Block:
    users: int = 0
    content: object = None


class Pool:
    """Blocks in the order in which they will be taken, and what they cache."""

    def __init__(self, limits: Limits, seen: Counter[str]) -> None:
        self.seen = seen
        self.free = [Block() for _ in range(limits.blocks or 0)]
        self.cached: dict[object, Block] = {}

    def take(self) -> Block:
        block = self.free.pop(0)
        if block.content is not None:
            del self.cached[block.content]
            self.seen["evictions"] += 1
        block.content, block.users = None, 1
        return block

    def share(self, block: Block) -> None:
        if block.users == 0:
            self.free.remove(block)
        block.users += 1

    def release(self, block: Block) -> None:
        block.users -= 1
        if block.users == 0:
            self.free.append(block)

    def remember(self, block: Block, content: object) -> None:
        if block.content is None and content not in self.cached:
            block.content = content
            self.cached[content] = block


@dataclass(eq=False)
class Sequence:
    call: SimulatedCall
    listener: SimulatedListener
    priority: int
    arrival: int
    outputs: int
    contents: list[object]
    submitted_ps: int = 0
    computed: int = 0
    done: int = 0
    planned: int = 0
    watch: int = -1
    blocks: list[Block] = field(default_factory=list)
    is_cancelled: bool = False
    is_over: bool = False
    started_ps: int | None = None
    cached: int = 0
    busy_ps: int = 0
    times_ps: list[int] = field(default_factory=list)

    @property
    def prompt(self) -> int:
        return self.call.call.prompt.tokens

    @property
    def missing(self) -> int:
        return self.prompt + self.done - self.computed

    @property
    def is_decoding(self) -> bool:
        return self.computed >= self.prompt and self.missing == 1


class OracleDevice:
    """Lets its replicas take turns, one iteration each."""

    def __init__(self, env: Clock, number: int, seen: Counter[str]) -> None:
        self.env, self.number, self.seen = env, number, seen
        self.replicas: list[OracleReplica] = []
        self.last = 0
        self.is_busy = False

    def begin_soon(self) -> None:
        if not self.is_busy:
            ScheduledEvent(self.env, 0, ITERATION_BEGIN + self.number, self.begin)

    def begin(self) -> None:
        if self.is_busy:
            return
        in_turn = self.replicas[self.last + 1 :] + self.replicas[: self.last + 1]
        working = [replica for replica in in_turn if replica.running or replica.waiting]
        if working:
            self.is_busy = True
            self.last = self.replicas.index(working[0])
            self.seen["waits for the device"] += len(working) - 1
            working[0].begin()

    def end(self) -> None:
        self.is_busy = False
        self.begin_soon()


class OracleReplica:
    def __init__(
        self,
        env: Clock,
        number: int,
        setup: BatchingSetup,
        device: OracleDevice,
        seen: Counter[str],
    ) -> None:
        self.seen = seen
        self.env, self.number = env, number
        self.device = device
        device.replicas.append(self)
        self.limits, self.cost = setup.limits, setup.cost
        self.pool = Pool(setup.limits, seen)
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.busy_since: int | None = None
        self.busy_ps = 0
        self.began_ps = self.seats = 0

    def urgency(self, sequence: Sequence) -> tuple[int, int]:
        urgent = sequence.priority if self.limits.scheduling == "priority" else 0
        return urgent, sequence.arrival

    def submit(self, sequence: Sequence) -> None:
        sequence.submitted_ps = int(self.env.now)
        self.waiting.append(sequence)
        self.device.begin_soon()

    def begin(self) -> None:
        self.came_by_ps, self.may_admit = int(self.env.now), self.limits.max_num_seqs
        if self.limits.async_scheduling and self.running:
            self.came_by_ps, self.may_admit = self.began_ps, self.seats
        while not any(s.planned for s in self.running):
            self.schedule()
        self.busy_since = self.began_ps = int(self.env.now)
        self.seats = self.limits.max_num_seqs - len(self.running)
        ScheduledEvent(self.env, self.duration(), ITERATION_END + self.number, self.end)

    def schedule(self) -> None:
        self.waiting.sort(key=self.urgency)
        self.budget = self.limits.max_num_batched_tokens
        first = [s for s in self.running if not (self.limits.prefill_first and s.is_decoding)]
        if not self.schedule_all(first):
            while self.waiting and self.admit(self.waiting[0]):
                pass
        if self.limits.prefill_first and not any(s.planned for s in self.running):
            self.budget = self.limits.max_num_batched_tokens
            self.schedule_all([s for s in self.running if s.is_decoding])

    def schedule_all(self, running: list[Sequence]) -> bool:
        """Whether anybody had to be preempted."""
        preempted = False
        for sequence in running:
            if sequence in self.running and self.budget > 0:
                preempted |= self.schedule_running(sequence)
                if sequence in self.waiting:
                    break
        return preempted

    def schedule_running(self, sequence: Sequence) -> bool:
        """Whether somebody had to be preempted."""
        preempted = False
        tokens = min(sequence.missing, self.budget, self.limits.max_chunk)
        while not self.has_room(sequence, sequence.computed + tokens):
            victim = self.running[-1]
            if self.limits.scheduling == "priority":
                victim = max(self.running, key=self.urgency)
            self.budget += victim.planned
            self.leave(victim)
            victim.computed = victim.planned = 0
            self.waiting.append(victim)
            self.waiting.sort(key=self.urgency)
            preempted = True
            self.seen["preemptions"] += 1
            if victim is sequence:
                return True
        self.hold(sequence, tokens)
        return preempted

    def has_room(self, sequence: Sequence, tokens: int) -> bool:
        if self.limits.blocks is None:
            return True
        return self.blocks_for(tokens) - len(sequence.blocks) <= len(self.pool.free)

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_tokens)

    def hold(self, sequence: Sequence, tokens: int) -> None:
        sequence.planned = tokens
        self.budget -= tokens
        if self.limits.blocks is None:
            return
        until = sequence.computed + tokens
        while len(sequence.blocks) < self.blocks_for(until):
            sequence.blocks.append(self.pool.take())
        if self.limits.prefix_caching:
            size = self.limits.block_tokens
            for place in range(sequence.computed // size, until // size):
                self.pool.remember(sequence.blocks[place], sequence.contents[place])

    def admit(self, sequence: Sequence) -> bool:
        if self.budget == 0 or len(self.running) == self.limits.max_num_seqs:
            return False
        if self.may_admit == 0 or sequence.submitted_ps > self.came_by_ps:
            return False
        hits = self.hits(sequence)
        reused = len(hits) * self.limits.block_tokens
        if sequence.missing - reused > self.budget and not self.limits.enable_chunked_prefill:
            self.seen["waits for room for all of a prompt"] += 1
            return False
        tokens = min(sequence.missing - reused, self.budget, self.limits.max_chunk)
        if self.limits.blocks is not None:
            new = self.blocks_for(reused + tokens) - len(hits)
            if new > len(self.pool.free) - sum(block.users == 0 for block in hits):
                return False
        self.waiting.remove(sequence)
        self.running.append(sequence)
        self.may_admit -= 1
        for block in hits:
            self.pool.share(block)
        sequence.blocks, sequence.computed = hits, reused
        if sequence.started_ps is None:
            sequence.started_ps = int(self.env.now)
            sequence.cached = min(reused, sequence.prompt)
            self.seen["cached tokens"] += sequence.cached
        self.hold(sequence, tokens)
        return True

    def hits(self, sequence: Sequence) -> list[Block]:
        if self.limits.blocks is None or not self.limits.prefix_caching:
            return []
        found = []
        most = (sequence.prompt + sequence.done - 1) // self.limits.block_tokens
        for content in sequence.contents[:most]:
            if content not in self.pool.cached:
                break
            found.append(self.pool.cached[content])
        return found

    def duration(self) -> int:
        active = [s for s in self.running if s.planned]
        decoding = [s for s in active if s.is_decoding]
        context = sum(s.computed + 1 for s in decoding)
        if len(decoding) == len(active):
            attention = int(attention_ps(self.cost, len(decoding), context))
            return int(at(self.cost.decode_ps, len(active))) + attention
        chunks = [s for s in active if s not in decoding]
        prefilled = sum(s.planned for s in chunks)
        work = sum(s.planned * (2 * s.computed + s.planned) for s in chunks)
        mixed = mixed_attention_ps(self.cost, prefilled, work, len(decoding), context)
        fixed = at(self.cost.tokens_ps, prefilled + len(decoding))
        fixed += at(self.cost.pieces_ps, len(chunks))
        return int(mixed) + int(fixed) + int(at(self.cost.sequences_ps, len(active)))

    def end(self) -> None:
        now = int(self.env.now)
        assert self.busy_since is not None
        took, self.busy_since = now - self.busy_since, None
        self.busy_ps += took
        named = []
        for sequence in self.running:
            if sequence.planned:
                sequence.busy_ps += took
                sequence.computed += sequence.planned
                sequence.planned = 0
                if sequence.missing == 0:
                    sequence.done += 1
                    if sequence.done <= sequence.call.goal_tokens:
                        sequence.times_ps.append(now)
                sequence.is_over = sequence.done == sequence.outputs or sequence.is_cancelled
                if sequence.is_over or sequence.done == sequence.watch:
                    named.append(sequence)
        for sequence in named:
            if sequence.is_over:
                self.leave(sequence)
        for sequence in named:
            if sequence.done == sequence.watch:
                sequence.listener.on_watched(sequence.call.key, now)
            if sequence.is_over:
                self.report(sequence)
        self.device.end()

    def leave(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        for block in reversed(sequence.blocks):
            self.pool.release(block)
        sequence.blocks = []

    def report(self, sequence: Sequence) -> None:
        now = int(self.env.now)
        call = sequence.call
        reason = "cancelled"
        if sequence.done == sequence.outputs:
            reason = "stop" if call.left_tokens < call.call.max_tokens else "length"
        result = CallResult(
            reason,  # type: ignore[arg-type]
            now if sequence.started_ps is None else sequence.started_ps,
            now,
            sequence.busy_ps,
            sequence.cached,
            token_ps=sequence.times_ps,
        )
        sequence.listener.on_end(call.key, result)

    def cancel(self, sequence: Sequence) -> None:
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        elif sequence in self.running and sequence.planned and self.busy_since is not None:
            sequence.is_cancelled = True
            return
        elif sequence in self.running:
            self.leave(sequence)
        else:
            return
        self.report(sequence)


class OracleEngine:
    def __init__(self, env: Clock, setup: BatchingSetup, replicas: list[OracleReplica]) -> None:
        self.env, self.setup = env, setup
        self.replicas = replicas
        self.sequences: dict[Key, tuple[Sequence, OracleReplica]] = {}
        self.homes: dict[tuple[int, str], OracleReplica] = {}

    def submit(self, call: SimulatedCall, listener: SimulatedListener) -> None:
        early = (call.ends_early and call.ends_with_stop) or call.goal_tokens == 0
        sequence = Sequence(
            call,
            listener,
            dict(self.setup.priorities).get(call.call.agent, 0),
            len(self.sequences),
            call.goal_tokens + int(early),
            self.contents(call),
        )
        least = min(self.replicas, key=lambda r: len(r.running) + len(r.waiting))
        if self.setup.routing == "affine":
            least = self.homes.setdefault((call.request, call.call.agent), least)
        self.sequences[call.key] = sequence, least
        least.submit(sequence)

    def contents(self, call: SimulatedCall) -> list[object]:
        """Of every full block: its text and all text before it."""
        text: list[object] = []
        for source, start, stop in call.call.prompt.segments:
            text += [self.token(call, source, place) for place in range(start, stop)]
        checked = call.call.checked
        text[len(text) - checked :] = [(call.key, "checked", place) for place in range(checked)]
        text += [(call.key, "thought", place) for place in range(call.thinking_tokens)]
        written = call.call.written
        own = range(written, written + call.goal_tokens - call.thinking_tokens)
        text += [self.token(call, call.call.agent, place) for place in own]
        size = self.setup.limits.block_tokens
        return [tuple(text[:end]) for end in range(size, len(text) + 1, size)]

    def token(self, call: SimulatedCall, source: str, place: int) -> object:
        """One token's content: that of a text which other requests have is called as there."""
        if source.startswith("header/"):
            return (None, source, place)
        before = 0
        for name, tokens in call.parts.get(source, ()):
            if place < before + tokens:
                return ("common", name, place - before)
            before += tokens
        return (call.request, source, place)

    def cancel(self, key: Key) -> None:
        sequence, replica = self.sequences[key]
        replica.cancel(sequence)

    def watch(self, key: Key, tokens: int) -> None:
        self.sequences[key][0].watch = tokens

    def close(self) -> None:
        """It holds nothing large."""

    def busy_ps(self) -> list[int]:
        return [replica.busy_ps for replica in self.replicas]

    def tokens_of(self, key: Key) -> int | None:
        sequence = self.sequences[key][0]
        return min(sequence.done, sequence.call.goal_tokens)


@dataclass(frozen=True)
class OracleSetup:
    """The same engine as ``setup``, the slow way; ``seen`` counts what happened in it."""

    setup: BatchingSetup
    seen: Counter[str] = field(default_factory=Counter)

    def open(self, env: Clock, shared: dict[str, object]) -> OracleEngine:
        first = shared.setdefault("replicas", 0)
        assert isinstance(first, int)
        shared["replicas"] = first + self.setup.replicas
        replicas = []
        for number in range(first, first + self.setup.replicas):
            name = self.setup.device or f"own device {number}"
            device = shared.setdefault(f"oracle {name}", OracleDevice(env, number, self.seen))
            assert isinstance(device, OracleDevice)
            replicas.append(OracleReplica(env, number, self.setup, device, self.seen))
        return OracleEngine(env, self.setup, replicas)
