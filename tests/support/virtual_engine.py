"""An engine that computes nothing: its clock goes on by what its iterations are said to cost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from executor.engine import CallReport, EngineCall, Listener
from executor.inprocess.device import Device
from executor.prefix import common_prefix
from staircase.messages import EndReason
from tests.support.characters import Characters

# A prefill's new and cached tokens; a decode's sequences and their context in all.
Seconds = Callable[[int, int], float]


@dataclass
class VirtualClock:
    """Shared by engines that take turns."""

    now_s: float = 0.0

    def now_ns(self) -> int:
        return round(self.now_s * 1e9)

    def go_on(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass(frozen=True)
class Nature:
    """What is to be found out.

    Attributes:
        factor: of each iteration: noise, or what another engine does to it.
        call_s: passes before a call's prefill begins.
        kept_texts: that the prefix cache knows; whole blocks of them count.
        template_tokens: that stand before every prompt.
        spelled: tokens of its own for each of a prompt's.
        wide: what a pass of so many tokens of each sequence takes, over one of a single token.
    """

    prefill_s: Seconds
    decode_s: Seconds
    factor: Callable[[], float] = lambda: 1.0
    call_s: float = 0.0
    slots: int = 1
    block_tokens: int = 1
    kept_texts: int = 1
    keeps_generated: bool = True
    reports_cached: bool = True
    template_tokens: int = 0
    spelled: int = 1
    wide: Callable[[int], float] = lambda width: 1.0


@dataclass(eq=False)
class _Active:
    call: EngineCall
    listener: Listener
    started_ns: int
    cached: int
    written: list[int] = field(default_factory=list)

    @property
    def context(self) -> int:
        return len(self.call.prompt_ids) + len(self.written)

    @property
    def width(self) -> int:
        """Of its next pass: what follows the last token is not guessed."""
        return min(self.call.pass_tokens, self.call.max_tokens - len(self.written))


class VirtualEngine(Characters):
    """Prefills, then decodes what was there before, in each iteration; writes the tokens 1, 2, …"""

    vocabulary = "virtual"

    def __init__(self, device: Device, clock: VirtualClock, nature: Nature) -> None:
        self.nature = nature
        self._device = device
        self._clock = clock
        self._queue: deque[tuple[EngineCall, Listener]] = deque()
        self._running: list[_Active] = []
        self._texts: deque[list[int]] = deque(maxlen=nature.kept_texts)
        device.attach(self)

    def submit(self, call: EngineCall, listener: Listener) -> None:
        self._device.post(lambda: self._queue.append((call, listener)))

    def cancel(self, key: object) -> None:
        self._device.post(lambda: self._cancel(key))

    def _cancel(self, key: object) -> None:
        for active in [one for one in self._running if one.call.key == key]:
            self._end(active, "cancelled")
        for call, listener in [one for one in self._queue if one[0].key == key]:
            self._queue.remove((call, listener))
            now = self._clock.now_ns()
            listener.on_end(call.key, CallReport("cancelled", now, now, 0, 0))

    @property
    def has_work(self) -> bool:
        return bool(self._queue or self._running)

    def turn(self) -> None:
        decoding = list(self._running)
        while self._queue and len(self._running) < self.nature.slots:
            self._prefill(*self._queue.popleft())
        if decoding:
            context = sum(active.context for active in decoding)
            wide = self.nature.wide(max(active.width for active in decoding))
            self._pass(wide * self.nature.decode_s(len(decoding), context))
            self._write(decoding)

    def _prefill(self, call: EngineCall, listener: Listener) -> None:
        if not self._running:
            self._clock.go_on(self.nature.call_s)
        prompt = self._prompt(call)
        cached = self._cached(prompt)
        active = _Active(call, listener, self._clock.now_ns(), cached)
        self._running.append(active)
        self._pass(self.nature.prefill_s(len(prompt) - cached, cached))
        self._write([active])

    def _prompt(self, call: EngineCall) -> list[int]:
        template = [0] * self.nature.template_tokens
        return template + [token for token in call.prompt_ids for _ in range(self.nature.spelled)]

    def _cached(self, prompt: list[int]) -> int:
        block = self.nature.block_tokens
        known = max((common_prefix(text, prompt) for text in self._texts), default=0)
        return min(known, len(prompt) - 1) // block * block

    def _pass(self, seconds: float) -> None:
        self._clock.go_on(seconds * self.nature.factor())

    def _write(self, some: Iterable[_Active]) -> None:
        for active in some:
            active.written.append(len(active.written) + 1)
            active.listener.on_token(active.call.key, active.written[-1], self._clock.now_ns())
            if len(active.written) == active.call.max_tokens:
                self._end(active)

    def _end(self, active: _Active, reason: EndReason = "length") -> None:
        self._running.remove(active)
        own = active.written[:-1] if self.nature.keeps_generated else []
        self._texts.append([*self._prompt(active.call), *own])
        now = self._clock.now_ns()
        cached = active.cached if self.nature.reports_cached else 0
        report = CallReport(reason, active.started_ns, now, 0, cached)
        active.listener.on_end(active.call.key, report)
