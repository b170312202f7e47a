"""In-process engine: a transformers model that serves several calls at once, as vLLM does.

Calls join and leave at any iteration. An iteration gives every call that decodes one token, and
spends what is left of its token budget on prompts, in order of arrival. Every piece of a prompt is
a forward pass, and then the decodes are one together. A prompt's first token is reported before the
decodes are computed: they take as long either way, and would only delay it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import torch

from executor.device import Device
from executor.engine import EngineCall, Key, Listener
from executor.guarding import Guarded, in_words
from executor.models import LoadedModel
from executor.running_call import RunningCall, turn_away
from executor.sampling import GREEDY, Chooser, Sampling
from executor.slot_passes import SlotPasses
from executor.slots import SlotBook
from staircase.messages import EndReason

# Calls and how many tokens of each an iteration computes.
Shares = list[tuple[RunningCall, int]]


class BatchingEngine:
    """Serves up to ``slots`` calls of ``model`` at once on ``device``, whose thread does the work.

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
        self._model = model
        self._device = device
        self._slots = slots
        self._budget_tokens = max(max_num_batched_tokens, slots)
        on_gpu = model.device.type == "cuda"
        self._chooser = Chooser(sampling, model.written_below)
        self._passes = SlotPasses(
            model, slots, on_gpu if is_static is None else is_static, self._chooser.in_pass
        )
        self._book = SlotBook(slots)
        self._queue: deque[tuple[EngineCall, Listener]] = deque()
        self._running: list[RunningCall] = []
        device.attach(self, model.threads)

    @property
    def vocabulary(self) -> str:
        return self._model.vocabulary

    @property
    def is_idle(self) -> bool:
        """No call waits or runs, and every slot is free."""
        return not self.has_work and self._book.free == self._slots

    @property
    def graphs(self) -> int:
        """CUDA graphs that it decodes with by now; 0 where it decodes eagerly."""
        return self._passes.graphs

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
        except Exception as error:
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
            call, listener = self._queue.popleft()
            try:
                self._seat(call, listener)
            except Exception as error:
                turn_away(call, listener, in_words(error))

    def _seat(self, call: EngineCall, listener: Listener) -> None:
        prompt = list(call.prompt_ids)
        self._check(prompt)
        self._passes.reserve(len(prompt) + call.max_tokens)
        slot, kept = self._book.take(call)
        started = time.perf_counter_ns()
        self._running.append(RunningCall(call, listener, slot, prompt, kept, started, kept))

    def _check(self, prompt: list[int]) -> None:
        """On a GPU a token that is none stops every call, so it must not get there."""
        size = self._model.vocabulary_size
        if not prompt:
            raise ValueError("the prompt is empty")
        if not 0 <= min(prompt) <= max(prompt) < size:
            raise ValueError(f"the prompt has tokens outside 0 … {size - 1}")

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

    def _cancel(self, key: Key) -> None:
        for running in self._running:
            if running.call.key == key:
                self._end(running, "cancelled")
                return
        for call, listener in self._queue:
            if call.key == key:
                self._queue.remove((call, listener))
                turn_away(call, listener)
                return

    def _end(self, running: RunningCall, reason: EndReason, error: str | None = None) -> None:
        self._running.remove(running)
        left = running.ids[: running.computed]
        self._book.release(running.slot, left, running.call.owner)
        running.end(reason, error)
