"""In-process engine: a transformers model that serves several calls at once, as vLLM does.

Calls join and leave at any iteration. An iteration gives every call that decodes one token, and
spends what is left of its token budget on prompts, in order of arrival, and then on guesses. Every
piece of a prompt is a forward pass, and then the decodes are one together. A prompt's first token
is reported before the decodes are computed: they take as long either way, and would only delay it.

Decodes that have a guess are a pass of their own, as wide as the longest guess; a prompt's end
takes its guess along. A call that says itself how its text goes on has a pass of its own for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from executor.engine import EngineCall, Key, Listener
from executor.guarding import in_words
from executor.inprocess.device import Device
from executor.inprocess.device_engine import DeviceEngine
from executor.inprocess.guesses import Guesses, agreed
from executor.inprocess.models import LoadedModel
from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.running_call import RunningCall
from executor.inprocess.sampling import GREEDY, Chooser, Sampling
from executor.inprocess.slot_passes import SlotPasses
from executor.inprocess.slots import SlotBook
from staircase.messages import EndReason


@dataclass
class Share:
    """What an iteration computes of one call: ``count`` tokens that are known, and a guess."""

    running: RunningCall
    count: int
    guess: list[int] = field(default_factory=list)

    @property
    def is_last(self) -> bool:
        """Whether a token of the text follows."""
        return self.count == self.running.missing

    @property
    def tokens(self) -> list[int]:
        start = self.running.computed
        return [*self.running.ids[start : start + self.count], *self.guess]


Shares = list[Share]


class BatchingEngine(DeviceEngine):
    """Serves up to ``slots`` calls at once.

    A call's busy time is that of all iterations it took part in, each from its beginning until the
    call's own token.

    Args:
        max_num_batched_tokens: computed in an iteration at most; never fewer than ``slots``.
        is_static: decode in fixed shapes, as CUDA graphs; by default where there is a GPU.
        lookup: how texts are guessed; None: not, beyond what calls say. Guesses are checked in
            passes of any shape.

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
        lookup: PromptLookup | None = None,
    ) -> None:
        super().__init__(model, device)
        self._slots = slots
        self._budget_tokens = max(max_num_batched_tokens, slots)
        on_gpu = model.device.type == "cuda"
        self._lookup = lookup
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
        pieces, decoding, guessing = self._share()
        self._step(pieces, self._prefill, started)
        self._step(decoding, self._decode, started)
        self._step(guessing, self._check_guesses, started)

    def _step(
        self, shares: Shares, compute: Callable[[Shares], torch.Tensor], started_ns: int
    ) -> None:
        """Computes ``shares`` and hands out the tokens after them."""
        if not shares:
            return
        try:
            with torch.inference_mode():
                found = self._chosen(compute(shares), shares)
        except Exception as error:  # torch may raise anything; other calls go on
            self._fail(shares, error)
            return
        now = time.perf_counter_ns()
        for share, tokens in zip(shares, found, strict=True):
            share.running.busy_ns += now - started_ns
            self._hand_out(share, tokens, now)

    def _chosen(self, left: torch.Tensor, shares: Shares) -> list[list[int]]:
        """The tokens after each share; ``left`` has a row for each token that may follow."""
        if not any(share.guess for share in shares):
            places = [place for share in shares for place in share.running.next_places(1)]
            return [[token] for token in self._chooser.tokens(left, places)]
        found: list[list[int]] = []
        for share in shares:
            places = share.running.next_places(len(share.guess) + 1)
            found.append(agreed(self._chooser, left[: len(places)], places, share.guess))
            left = left[len(places) :]
        return found

    def _hand_out(self, share: Share, tokens: list[int], now_ns: int) -> None:
        """They mean nothing after the piece of an unfinished prompt."""
        running, is_last = share.running, share.is_last
        running.computed += share.count + len(tokens) - 1
        if not is_last:
            return
        running.passes += 1
        running.guessed_tokens += len(tokens) - 1
        for token in tokens:
            if running in self._running:
                self._take(running, token, now_ns)

    def _admit(self) -> None:
        while self._queue and self._book.free:
            self._begin_next()

    def _begin(self, call: EngineCall, listener: Listener) -> None:
        prompt = list(call.prompt_ids)
        self._passes.reserve(len(prompt) + call.max_tokens)
        slot, kept = self._book.take(call)
        started = time.perf_counter_ns()
        guesses = Guesses(call, self._lookup, self._model.vocabulary_size)
        self._running.append(
            RunningCall(call, listener, slot, prompt, kept, started, kept, guesses)
        )

    def _share(self) -> tuple[Shares, Shares, Shares]:
        """Pieces of prompts, what decodes, and what decodes with a guess, both by slot.

        What decodes has its tokens of the budget before pieces, and pieces before guesses.
        """
        known = [Share(r, 1) for r in self._running if r.missing == 1]
        left = self._budget_tokens - len(known)
        pieces: Shares = []
        for running in self._running:
            if running.missing > 1 and left:
                pieces.append(Share(running, min(running.missing, left)))
                left -= pieces[-1].count
        for share in (*pieces, *known):
            if share.is_last:
                share.guess = share.running.guess(left)
                left -= len(share.guess)
        return self._by_pass(pieces, sorted(known, key=lambda share: share.running.slot))

    def _by_pass(self, pieces: Shares, known: Shares) -> tuple[Shares, Shares, Shares]:
        """What a call says itself may be long, and would make the pass of others as wide."""
        most = self._lookup.tokens if self._lookup else 0
        return (
            pieces + [share for share in known if len(share.guess) > most],
            [share for share in known if not share.guess],
            [share for share in known if 0 < len(share.guess) <= most],
        )

    def _prefill(self, pieces: Shares) -> torch.Tensor:
        return torch.cat(
            [
                self._passes.prefill(
                    piece.running.slot, piece.running.computed, piece.tokens, len(piece.guess) + 1
                )
                for piece in pieces
            ]
        )

    def _decode(self, decoding: Shares) -> torch.Tensor:
        slots, positions, tokens = zip(
            *((one.running.slot, one.running.computed, one.tokens[0]) for one in decoding),
            strict=True,
        )
        return self._passes.decode(slots, positions, tokens)

    def _check_guesses(self, guessing: Shares) -> torch.Tensor:
        slots, starts, tokens = zip(
            *((one.running.slot, one.running.computed, one.tokens) for one in guessing),
            strict=True,
        )
        return self._passes.check(slots, starts, tokens)

    def _take(self, running: RunningCall, token: int, now_ns: int) -> None:
        if running.call.key in self._cancelled:
            self._end(running, "cancelled")
            return
        if token in self._model.end_ids and not running.call.ignore_end:
            self._end(running, "stop")
            return
        running.ids.append(token)
        running.guesses.add(token)
        running.listener.on_token(running.call.key, token, now_ns)
        if running.written == running.call.max_tokens:
            self._end(running, "length")

    def _fail(self, shares: Shares, error: Exception) -> None:
        """What was computed before stays; only who took part in the pass ends."""
        for share in shares:
            self._end(share.running, "cancelled", in_words(error))

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
