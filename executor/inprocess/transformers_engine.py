"""In-process engine: a transformers model that serves one call at a time.

It keeps the KV cache of its last call and re-uses the longest common prefix with the next prompt.
What a text may go on with is run in the same pass as what is known of it, and cut off the cache
again where it was wrong.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from executor.engine import CallReport, EngineCall, Key, Listener
from executor.guarding import in_words
from executor.inprocess.device import Device
from executor.inprocess.device_engine import DeviceEngine
from executor.inprocess.guesses import Guesses, agreed
from executor.inprocess.kept_text import KeptText
from executor.inprocess.models import LoadedModel
from executor.inprocess.next_logits import next_logits
from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.sampling import GREEDY, Chooser, Sampling
from staircase.errors import ModelError
from staircase.messages import EndReason


@dataclass
class _Active:
    """The call that is being served; ``pending`` are the tokens of its next forward pass."""

    call: EngineCall
    listener: Listener
    pending: list[int]
    guesses: Guesses | None
    cached_tokens: int
    started_ns: int
    busy_ns: int = 0
    written: int = 0
    passes: int = 0
    guessed_tokens: int = 0

    def guess(self) -> list[int]:
        """Tokens after those pending; the last that it may write is of no use, as none follows."""
        return self.guesses.next(self.call.max_tokens - self.written - 1) if self.guesses else []


@dataclass
class _Memory(KeptText):
    """The last text, and the request that left it."""

    owner: str = ""


class TransformersEngine(DeviceEngine):
    """One call at a time.

    Args:
        lookup: how texts are guessed; None: not, beyond what calls say.

    Raises:
        ModelError: with ``lookup``, the model keeps something else than keys and values of all
            tokens, which cannot be cut.
    """

    def __init__(
        self,
        model: LoadedModel,
        device: Device,
        sampling: Sampling = GREEDY,
        lookup: PromptLookup | None = None,
    ) -> None:
        super().__init__(model, device)
        others = model.other_layers
        if lookup and others:
            raise ModelError(
                f"prompt_lookup: {model.network.config.model_type} has layers with {others[0]}, "
                "whose cache cannot be cut where a guess was wrong"
            )
        self._lookup = lookup
        self._can_guess = not others
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
        """One forward pass: the whole rest of a prompt, or one decoded token; and what is guessed
        to follow."""
        if self._active is None:
            self._begin_next()
        active = self._active
        if active is None:
            return
        started = time.perf_counter_ns()
        try:
            tokens = self._forward(active, active.guess())
        except Exception as error:  # torch may raise anything; other calls go on
            self._end("cancelled", in_words(error))
            self._memory = _Memory()
            return
        now = time.perf_counter_ns()
        active.busy_ns += now - started
        active.passes += 1
        active.guessed_tokens += len(tokens) - 1
        for token in tokens:
            if active is self._active:
                self._take(active, token, now)

    def _begin(self, call: EngineCall, listener: Listener) -> None:
        started = time.perf_counter_ns()
        # Nothing is kept if it cannot be cut.
        memory, self._memory = self._memory, _Memory()
        kept = call.reusable(memory.ids, memory.owner)
        memory.keep(kept)
        memory.owner = call.owner
        self._memory = memory
        size = self._model.vocabulary_size
        guesses = Guesses(call, self._lookup, size) if self._can_guess else None
        pending = list(call.prompt_ids)[kept:]
        self._active = _Active(call, listener, pending, guesses, kept, started)

    @torch.inference_mode()
    def _forward(self, active: _Active, guess: list[int]) -> list[int]:
        """What follows: one token, and one more for each of ``guess`` that was right."""
        ids = torch.tensor([[*active.pending, *guess]], device=self._model.device)
        logits = self._next_logits(
            len(guess) + 1, input_ids=ids, past_key_values=self._memory.cache, use_cache=True
        )
        self._memory.ids += [*active.pending, *guess]
        left = self._chooser.in_pass(logits[0])
        places = [active.call.place_after(active.written + n) for n in range(len(guess) + 1)]
        tokens = agreed(self._chooser, left, places, guess)
        self._memory.keep(len(self._memory.ids) - len(guess) + len(tokens) - 1)
        return tokens

    def _take(self, active: _Active, token: int, now_ns: int) -> None:
        if active.call.key in self._cancelled:
            self._end("cancelled")
            return
        if token in self._model.end_ids and not active.call.ignore_end:
            self._end("stop")
            return
        active.written += 1
        active.pending = [token]
        if active.guesses:
            active.guesses.add(token)
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
            passes=active.passes,
            guessed_tokens=active.guessed_tokens,
        )
        active.listener.on_end(active.call.key, report)
