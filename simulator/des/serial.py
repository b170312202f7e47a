"""Serial engines on a shared device, simulated: what the in-process engine is.

An engine serves one call at a time and re-uses the longest common prefix with its last call. Its
turn on the device is one iteration. A call is there before the device's next turn, since whoever
makes it runs in the device's own thread; what is fixed for it, the profile's ``call_s``, passes
there too, before its prefill. An iteration in turn with another engine's takes ``contention``
times as long as alone.

Where it guesses, a pass may give several tokens. It is played as one token a turn, each of which
takes its share of a pass (``profiles.guessed_passes``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from profiles.guessed_passes import TextPace
from profiles.latency.profile import EngineProfile
from simulator.des.device import SimulatedDevice, shared_device
from simulator.engine import Key, SimulatedCall, SimulatedListener, first_number
from simulator.event_queue import ITERATION_END, Clock, ScheduledEvent
from staircase.messages import EndReason
from staircase.play import CallResult
from staircase.prompt import Prompt, common_prefix_tokens
from staircase.shared_texts import is_common
from staircase.timeline import to_ps


@dataclass(frozen=True)
class SerialSetup:
    """A serial engine; those that name the same device share it.

    Attributes:
        paces: of agents whose texts are guessed, what a token takes of a decode.
        mean_pace: the same over all texts of the engine, for who cannot tell them apart.
    """

    profile: EngineProfile
    device: str = "device"
    paces: Mapping[str, TextPace] = field(default_factory=dict)
    mean_pace: float = 1.0

    def open(self, env: Clock, shared: dict[str, object]) -> SerialEngine:
        number = first_number(shared, 1)
        device = shared_device(env, shared, self.device, number)
        return SerialEngine(env, self, device, number)


@dataclass
class _Active:
    call: SimulatedCall
    listener: SimulatedListener
    cached_tokens: int
    started_ps: int
    busy_ps: int = 0
    forwards: int = 0
    written: int = 0
    is_running: bool = False
    is_cancelled: bool = False

    def text(self) -> Prompt:
        """Everything whose KV is there: each forward pass after the first adds one own token."""
        return self.call.text(max(self.forwards - 1, 0))


class SerialEngine:
    """One call at a time; iterations cost what the profile of ``setup`` says."""

    def __init__(
        self, env: Clock, setup: SerialSetup, device: SimulatedDevice, number: int
    ) -> None:
        self._env = env
        self._end_priority = ITERATION_END + number
        self._profile = setup.profile
        self._paces = setup.paces
        self._device = device
        self._call_ps = to_ps(setup.profile.call_s)
        self._queue: deque[tuple[SimulatedCall, SimulatedListener]] = deque()
        self._active: _Active | None = None
        self._memory: tuple[int, Prompt] | None = None
        self._busy_ps = 0
        device.attach(self)

    def submit(self, call: SimulatedCall, listener: SimulatedListener) -> None:
        self._queue.append((call, listener))
        self._device.wake()

    def cancel(self, key: Key) -> None:
        """Ends a call; one whose iteration is under way ends with it, and keeps its token."""
        if self._active and self._active.call.key == key:
            self._active.is_cancelled = True
            if not self._active.is_running:
                self._end(self._active, "cancelled")
            return
        for call, listener in list(self._queue):
            if call.key == key:
                self._queue.remove((call, listener))
                now = int(self._env.now)
                listener.on_end(key, CallResult("cancelled", now, now, 0, 0))

    def watch(self, key: Key, tokens: int) -> None:
        """Every token is reported anyway."""

    def tokens_of(self, key: Key) -> int | None:
        return None

    def close(self) -> None:
        """It holds nothing large."""

    def busy_ps(self) -> list[int]:
        return [self._busy_ps]

    @property
    def has_work(self) -> bool:
        return self._active is not None or bool(self._queue)

    def begin_turn(self, is_alone: bool) -> None:
        active = self._active = self._active or self._begin(*self._queue.popleft())
        active.is_running = True
        factor = 1.0 if is_alone else self._profile.contention
        took_ps = round(factor * self._iteration_ps(active))
        before_ps = 0 if active.forwards else self._call_ps
        over = before_ps + took_ps
        ScheduledEvent(self._env, over, self._end_priority, lambda: self._end_turn(active, took_ps))

    def cut(self) -> None:
        """A turn is one iteration anyway."""

    def _iteration_ps(self, active: _Active) -> int:
        prompt_tokens = active.call.call.prompt.tokens
        if active.forwards == 0:
            new = prompt_tokens - active.cached_tokens
            return to_ps(self._profile.prefill_s(new, active.cached_tokens))
        decode_s = self._profile.decode_s(1, prompt_tokens + active.forwards)
        return to_ps(self._pace(active) * decode_s)

    def _pace(self, active: _Active) -> float:
        call = active.call.call
        pace = self._paces.get(call.agent)
        return pace.at(call.written + active.written) if pace else 1.0

    def _end_turn(self, active: _Active, took_ps: int) -> None:
        active.is_running = False
        active.forwards += 1
        active.busy_ps += took_ps
        self._busy_ps += took_ps
        self._device.end_turn()
        ended = self._write(active)
        if ended or active.is_cancelled:
            self._end(active, ended or "cancelled")

    def _write(self, active: _Active) -> EndReason | None:
        """The iteration's token, or the end of the text."""
        call = active.call
        whole_tokens = call.thinking_tokens + call.left_tokens + call.taken_back
        if active.written == whole_tokens:
            return call.reason_after(call.outputs)
        active.written += 1
        active.listener.on_token(call.key, int(self._env.now))
        if active.written == whole_tokens and not call.ends_with_stop:
            return "stop"
        most_tokens = call.thinking_tokens + call.taken_back + call.call.max_tokens
        return "length" if active.written == most_tokens else None

    def _begin(self, call: SimulatedCall, listener: SimulatedListener) -> _Active:
        return _Active(call, listener, self._cached(call), int(self._env.now) + self._call_ps)

    def _cached(self, call: SimulatedCall) -> int:
        """Tokens whose KV is there; the last token of a prompt is always run again."""
        if self._memory is None:
            return 0
        request, text = self._memory
        prompt = call.text(0)
        if request != call.request:
            text, prompt = text.beginning(is_common), prompt.beginning(is_common)
        return min(common_prefix_tokens(text, prompt), call.call.prompt.tokens - 1)

    def _end(self, active: _Active, reason: EndReason) -> None:
        self._active = None
        self._memory = (active.call.request, active.text())
        result = CallResult(
            reason, active.started_ps, int(self._env.now), active.busy_ps, active.cached_tokens
        )
        active.listener.on_end(active.call.key, result)
