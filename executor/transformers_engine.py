"""In-process engine: a transformers model that serves one call at a time.

It keeps the KV cache of its last call and re-uses the longest common prefix with the next prompt.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache

from executor.device import Device
from executor.engine import CallReport, EngineCall, Key, Listener
from executor.guarding import Guarded, in_words
from executor.models import LoadedModel
from executor.next_logits import next_logits
from executor.running_call import turn_away
from executor.sampling import GREEDY, Chooser, Sampling
from staircase.messages import EndReason


@dataclass
class _Active:
    """The call that is being served; ``pending`` are the tokens of its next forward pass."""

    call: EngineCall
    listener: Listener
    pending: list[int]
    cached_tokens: int
    started_ns: int
    busy_ns: int = 0
    written: int = 0


@dataclass
class _Memory:
    """Token ids whose keys and values are in ``cache``, and the request that left them."""

    cache: DynamicCache = field(default_factory=DynamicCache)
    ids: list[int] = field(default_factory=list)
    owner: str = ""

    def keep(self, length: int) -> None:
        surplus = len(self.ids) - length
        if surplus > 0:
            # The negative form means the same in every transformers 5.x; the positive does not.
            self.cache.crop(-surplus)
            del self.ids[length:]


class TransformersEngine:
    """Serves ``model`` on ``device``, whose thread does all the work."""

    def __init__(self, model: LoadedModel, device: Device, sampling: Sampling = GREEDY) -> None:
        self._model = model
        self._next_logits = next_logits(model.network)
        self._device = device
        self._chooser = Chooser(sampling, model.written_below)
        self._memory = _Memory()
        self._queue: deque[tuple[EngineCall, Listener]] = deque()
        self._active: _Active | None = None
        device.attach(self, model.threads)

    @property
    def vocabulary(self) -> str:
        return self._model.vocabulary

    def encode(self, text: str) -> list[int]:
        return self._model.encode(text)

    def encode_content(self, text: str) -> list[int]:
        return self._model.encode_content(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._model.decode(ids)

    def submit(self, call: EngineCall, listener: Listener) -> None:
        guarded = Guarded(listener, self.cancel)
        self._device.post(lambda: self._queue.append((call, guarded)))

    def cancel(self, key: Key) -> None:
        self._device.post(lambda: self._cancel(key))

    # in the device's thread

    @property
    def has_work(self) -> bool:
        return self._active is not None or bool(self._queue)

    def turn(self) -> None:
        """One forward pass: the whole rest of a prompt, or one decoded token."""
        active = self._active = self._active or self._next()
        if active is None:
            return
        started = time.perf_counter_ns()
        try:
            token = self._forward(active)
        except Exception as error:
            self._end("cancelled", in_words(error))
            self._memory = _Memory()
            return
        now = time.perf_counter_ns()
        active.busy_ns += now - started
        self._take(active, token, now)

    def _next(self) -> _Active | None:
        """The first in the queue; None if it cannot begin, which it is then told."""
        call, listener = self._queue.popleft()
        try:
            return self._begin(call, listener)
        except Exception as error:
            self._memory = _Memory()
            turn_away(call, listener, in_words(error))
            return None

    def _begin(self, call: EngineCall, listener: Listener) -> _Active:
        started = time.perf_counter_ns()
        prompt = list(call.prompt_ids)
        kept = call.reusable(self._memory.ids, self._memory.owner)
        self._memory.keep(kept)
        self._memory.owner = call.owner
        return _Active(call, listener, prompt[kept:], kept, started)

    @torch.inference_mode()
    def _forward(self, active: _Active) -> int:
        ids = torch.tensor([active.pending], device=self._model.device)
        logits = self._next_logits(
            input_ids=ids, past_key_values=self._memory.cache, use_cache=True
        )
        self._memory.ids += active.pending
        left = self._chooser.in_pass(logits)
        return self._chooser.tokens(left, [active.call.place_after(active.written)])[0]

    def _take(self, active: _Active, token: int, now_ns: int) -> None:
        if token in self._model.end_ids and not active.call.ignore_end:
            self._end("stop")
            return
        active.written += 1
        active.pending = [token]
        active.listener.on_token(active.call.key, token, now_ns)
        if active.written == active.call.max_tokens:
            self._end("length")

    def _cancel(self, key: Key) -> None:
        if self._active and self._active.call.key == key:
            self._end("cancelled")
            return
        for call, listener in list(self._queue):
            if call.key == key:
                self._queue.remove((call, listener))
                turn_away(call, listener)

    def _end(self, reason: EndReason, error: str | None = None) -> None:
        active, self._active = self._active, None
        assert active is not None
        report = CallReport(
            reason,
            active.started_ns,
            time.perf_counter_ns(),
            active.busy_ns,
            active.cached_tokens,
            error,
        )
        active.listener.on_end(active.call.key, report)
