"""What no model writes, in real time: what comes on a clock, or as somebody types it, and the texts
that were voted for."""

from __future__ import annotations

import os
import re
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator

from executor.engine import (
    CallReport,
    EngineCall,
    Key,
    RevisedListener,
    TextUpdate,
    Tokened,
    Tokens,
)
from executor.guarding import GuardedRevised
from executor.openai.vocabularies import TextPieces
from executor.prefix import common_prefix
from executor.tokens.rendering import PromptFormat
from staircase.messages import EndReason
from staircase.pipeline import Arrival

# An input is given none.
NO_PROMPT = PromptFormat("", "", "", "")
CHUNK_BYTES = 1 << 12
WORD = re.compile(r"\s*\S+|\s+")


class InputEngine(Tokened):
    """Brings the tokens of ``EngineCall.prompt_ids`` as ``arrival`` says, each call in a thread.

    Its tokens are words, unless they are those of ``tokens``.
    """

    def __init__(
        self,
        arrival: Arrival,
        tokens: Tokens | None = None,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        super().__init__(tokens or TextPieces("words of inputs"))
        self._arrival = arrival
        self._now_ns = now_ns
        self._stops: dict[Key, threading.Event] = {}

    def at_once(self) -> InputEngine:
        """The same that keeps nobody waiting."""
        return InputEngine(Arrival(), self._tokens, self._now_ns)

    def submit(self, call: EngineCall, listener: RevisedListener) -> None:
        stop = self._stops[call.key] = threading.Event()
        arguments = (call, GuardedRevised(listener, self.cancel), stop)
        threading.Thread(target=self._bring, args=arguments, name="input", daemon=True).start()

    def cancel(self, key: Key) -> None:
        stop = self._stops.get(key)
        if stop:
            stop.set()

    def _bring(self, call: EngineCall, listener: RevisedListener, stop: threading.Event) -> None:
        started, tokens, there = self._now_ns(), 0, 0
        is_whole = True
        for update in self._updates(call):
            due = started + round(1e9 * update.seconds)
            if stop.wait(max(due - self._now_ns(), 0) / 1e9):
                is_whole = False
                break
            if update.standing < there:
                listener.on_revised(call.key, update.standing, self._now_ns())
            for token in update.ids:
                listener.on_token(call.key, token, self._now_ns())
            tokens, there = tokens + len(update.ids), update.standing + len(update.ids)
        ended: EndReason = "length" if tokens == call.max_tokens else "stop"
        reason: EndReason = ended if is_whole else "cancelled"
        del self._stops[call.key]
        listener.on_end(call.key, CallReport(reason, started, self._now_ns(), 0, 0))

    def _updates(self, call: EngineCall) -> Iterator[TextUpdate]:
        """What comes, and when."""
        if call.updates and self._arrival.tokens_per_s:
            yield from call.updates
            return
        text, place = call.prompt_ids[: call.max_tokens], 0
        while place < len(text):
            last = self._arrival.last_of_segment(place + 1, len(text))
            yield TextUpdate(self._arrival.seconds(last), place, text[place:last])
            place = last


class LiveInput(Tokened):
    """Brings what a file descriptor gives, word by word, as soon as it is there. For one call.

    It gives UTF-8; what is no such text is brought as �.
    """

    def __init__(self, descriptor: int, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        super().__init__(TextPieces("words of inputs"))
        self._descriptor = descriptor
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._is_over = False

    def submit(self, call: EngineCall, listener: RevisedListener) -> None:
        self._call, self._listener = call, GuardedRevised(listener, self.cancel)
        self._started = self._now_ns()
        threading.Thread(target=self._bring, name="input", daemon=True).start()

    def cancel(self, key: Key) -> None:
        """The reading thread may wait for more for ever, so it is left where it is."""
        threading.Thread(target=self._end, args=("cancelled",), name="input", daemon=True).start()

    def _bring(self) -> None:
        for word in words_of(self._descriptor):
            for token in self.encode(word):
                with self._lock:
                    if self._is_over:
                        return
                    self._listener.on_token(self._call.key, token, self._now_ns())
        self._end("stop")

    def _end(self, reason: EndReason) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        report = CallReport(reason, self._started, self._now_ns(), 0, 0)
        self._listener.on_end(self._call.key, report)


class LiveUpdates(LiveInput):
    """Brings what a file descriptor says in lines: each is all that is there by then, as what a
    recogniser has heard so far. For one call."""

    def _bring(self) -> None:
        there = list[int]()
        for line in lines_of(self._descriptor):
            ids = self.encode(line)
            alike = common_prefix(there, ids)
            with self._lock:
                if self._is_over:
                    return
                if alike < len(there):
                    self._listener.on_revised(self._call.key, alike, self._now_ns())
                for token in ids[alike:]:
                    self._listener.on_token(self._call.key, token, self._now_ns())
            there = ids
        self._end("stop")


def lines_of(descriptor: int) -> Iterator[str]:
    """Each when it is whole, without empty ones."""
    with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as lines:
        while line := lines.readline():
            if line.strip():
                yield line.strip()


def words_of(descriptor: int) -> Iterator[str]:
    """Each with the space before it, when it is known to be whole; without space at the end."""
    decoder = getincrementaldecoder("utf-8")("replace")
    held = ""
    while chunk := os.read(descriptor, CHUNK_BYTES):
        held += decoder.decode(chunk)
        *whole, held = WORD.findall(held) or [""]
        yield from whole
    rest = (held + decoder.decode(b"", final=True)).rstrip()
    if rest:
        yield rest
