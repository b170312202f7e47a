"""In-process engine: a transformers model that serves one call at a time.

It keeps the KV cache of its last call and re-uses the longest common prefix with the next prompt.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from executor.engine import CallReport, EngineCall, Key, Listener
from executor.guarding import in_words
from executor.inprocess.device import Device
from executor.inprocess.device_engine import DeviceEngine
from executor.inprocess.kept_text import KeptText
from executor.inprocess.models import LoadedModel
from executor.inprocess.next_logits import next_logits
from executor.inprocess.sampling import GREEDY, Chooser, Sampling
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
class _Memory(KeptText):
    """The last text, and the request that left it."""

    owner: str = ""


class TransformersEngine(DeviceEngine):
    """One call at a time."""

    def __init__(self, model: LoadedModel, device: Device, sampling: Sampling = GREEDY) -> None:
        super().__init__(model, device)
        self._next_logits = next_logits(model.network)
        self._chooser = Chooser(sampling, model.written_below)
        self._memory = _Memory()
        self._active: _Active | None = None
        device.attach(self, model.threads)

    # in the device's thread

    @property
    def has_work(self) -> bool:
        return self._active is not None or bool(self._queue)

    def turn(self) -> None:
        """One forward pass: the whole rest of a prompt, or one decoded token."""
        if self._active is None:
            self._begin_next()
        active = self._active
        if active is None:
            return
        started = time.perf_counter_ns()
        try:
            token = self._forward(active)
        except Exception as error:  # torch may raise anything; other calls go on
            self._end("cancelled", in_words(error))
            self._memory = _Memory()
            return
        now = time.perf_counter_ns()
        active.busy_ns += now - started
        self._take(active, token, now)

    def _begin(self, call: EngineCall, listener: Listener) -> None:
        started = time.perf_counter_ns()
        # Nothing is kept if it cannot be cut.
        memory, self._memory = self._memory, _Memory()
        kept = call.reusable(memory.ids, memory.owner)
        memory.keep(kept)
        memory.owner = call.owner
        self._memory = memory
        self._active = _Active(call, listener, list(call.prompt_ids)[kept:], kept, started)

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

    def _end_running(self, key: Key) -> bool:
        is_running = self._active is not None and self._active.call.key == key
        if is_running:
            self._end("cancelled")
        return is_running

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
