"""In-process engine: a transformers model that serves several calls at once, as vLLM does.

Calls join and leave at any iteration. An iteration gives every call that decodes one token, and
spends what is left of its token budget on prompts, in order of arrival. Every piece of a prompt is
a forward pass, and then the decodes are one together. A prompt's first token is reported before the
decodes are computed: they take as long either way, and would only delay it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from executor.engine import EngineCall, Key, Listener
from executor.guarding import in_words
from executor.inprocess.device import Device
from executor.inprocess.device_engine import DeviceEngine
from executor.inprocess.models import LoadedModel
from executor.inprocess.running_call import RunningCall
from executor.inprocess.sampling import GREEDY, Chooser, Sampling
from executor.inprocess.slot_passes import SlotPasses
from executor.inprocess.slots import SlotBook
from staircase.messages import EndReason

# Calls and how many tokens of each an iteration computes.
Shares = list[tuple[RunningCall, int]]


class BatchingEngine(DeviceEngine):
    """Serves up to ``slots`` calls at once.

    A call's busy time is that of all iterations it took part in, each from its beginning until the
    call's own token.

    Args:
        max_num_batched_tokens: computed in an iteration at most; never fewer than ``slots``.
        is_static: decode in fixed shapes, as CUDA graphs; by default where there is a GPU.

    Raises:
        ModelError: the model keeps something else than keys and values of all tokens.
    """

    def __init__(
        self,
        model: LoadedModel,
        device: Device,
        slots: int,
        max_num_batched_tokens: int = 2048,
        is_static: bool | None = None,
        sampling: Sampling = GREEDY,
    ) -> None:
        super().__init__(model, device)
        self._slots = slots
        self._budget_tokens = max(max_num_batched_tokens, slots)
        on_gpu = model.device.type == "cuda"
        self._chooser = Chooser(sampling, model.written_below)
        self._passes = SlotPasses(
            model, slots, on_gpu if is_static is None else is_static, self._chooser.in_pass
        )
        self._book = SlotBook(slots)
        self._running: list[RunningCall] = []
        device.attach(self, model.threads)

    @property
    def is_idle(self) -> bool:
        """No call waits or runs, and every slot is free."""
        return not self.has_work and self._book.free == self._slots

    @property
    def graphs(self) -> int:
        """CUDA graphs that it decodes with by now; 0 where it decodes eagerly."""
        return self._passes.graphs

    # in the device's thread

    @property
    def has_work(self) -> bool:
        return bool(self._running or self._queue)

    def turn(self) -> None:
        """One iteration."""
        started = time.perf_counter_ns()
        self._admit()
        decoding, pieces = self._share()
        self._step(pieces, self._prefill, started)
        self._step(decoding, self._decode, started)

    def _step(
        self, shares: Shares, compute: Callable[[Shares], torch.Tensor], started_ns: int
    ) -> None:
        """Computes ``shares`` and hands out the tokens after them."""
        if not shares:
            return
        try:
            with torch.inference_mode():
                places = [running.next_place for running, _ in shares]
                tokens = self._chooser.tokens(compute(shares), places)
        except Exception as error:  # torch may raise anything; other calls go on
            self._fail(shares, error)
            return
        now = time.perf_counter_ns()
        for (running, count), token in zip(shares, tokens, strict=True):
            running.busy_ns += now - started_ns
            running.computed += count
            if not running.missing:
                self._take(running, token, now)

    def _admit(self) -> None:
        while self._queue and self._book.free:
            self._begin_next()

    def _begin(self, call: EngineCall, listener: Listener) -> None:
        prompt = list(call.prompt_ids)
        self._passes.reserve(len(prompt) + call.max_tokens)
        slot, kept = self._book.take(call)
        started = time.perf_counter_ns()
        self._running.append(RunningCall(call, listener, slot, prompt, kept, started, kept))

    def _share(self) -> tuple[Shares, Shares]:
        """What decodes, by slot, and the pieces of prompts that the budget allows beside it."""
        decoding = sorted((r for r in self._running if r.missing == 1), key=lambda r: r.slot)
        left = self._budget_tokens - len(decoding)
        pieces: Shares = []
        for running in self._running:
            if running.missing > 1 and left:
                pieces.append((running, min(running.missing, left)))
                left -= pieces[-1][1]
        return [(running, 1) for running in decoding], pieces

    def _prefill(self, pieces: Shares) -> torch.Tensor:
        """What follows each piece; it means nothing after that of an unfinished prompt."""
        return torch.cat(
            [
                self._passes.prefill(
                    running.slot, running.computed, running.ids[running.computed :][:count]
                )
                for running, count in pieces
            ]
        )

    def _decode(self, decoding: Shares) -> torch.Tensor:
        slots, positions, tokens = zip(
            *((running.slot, running.computed, running.ids[-1]) for running, _ in decoding),
            strict=True,
        )
        return self._passes.decode(slots, positions, tokens)

    def _take(self, running: RunningCall, token: int, now_ns: int) -> None:
        if token in self._model.end_ids and not running.call.ignore_end:
            self._end(running, "stop")
            return
        running.ids.append(token)
        running.listener.on_token(running.call.key, token, now_ns)
        if running.written == running.call.max_tokens:
            self._end(running, "length")

    def _fail(self, shares: Shares, error: Exception) -> None:
        """What was computed before stays; only who took part in the pass ends."""
        for running, _ in shares:
            self._end(running, "cancelled", in_words(error))

    def _end_running(self, key: Key) -> bool:
        found = next((one for one in self._running if one.call.key == key), None)
        if found:
            self._end(found, "cancelled")
        return found is not None

    def _end(self, running: RunningCall, reason: EndReason, error: str | None = None) -> None:
        self._running.remove(running)
        left = running.ids[: running.computed]
        self._book.release(running.slot, left, running.call.owner)
        running.end(reason, error)
