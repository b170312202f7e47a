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


class SaidInput(Tokened):
    """Brings what ``say`` says: each time all that is there by then. For one call.

    Args:
        on_change: called when its listener has heard what is new, in whatever thread.

    Attributes:
        brought: tokens, whether they stand or not.
        is_over: its call has ended, so nothing of it changes any more.
    """

    def __init__(
        self,
        now_ns: Callable[[], int] = time.perf_counter_ns,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(TextPieces("words of inputs"))
        self._now_ns = now_ns
        self._on_change = on_change
        self._lock = threading.Lock()
        self._listener: GuardedRevised | None = None
        self._said = list[int]()
        self._there = list[int]()
        self._ends_with: EndReason | None = None
        self.brought = 0
        self.is_over = False

    def submit(self, call: EngineCall, listener: RevisedListener) -> None:
        arguments = (call, GuardedRevised(listener, self.cancel))
        threading.Thread(target=self._bring, args=arguments, name="input", daemon=True).start()

    def cancel(self, key: Key) -> None:
        """Listeners may not be called before this returns."""
        threading.Thread(target=self.end, args=("cancelled",), name="input", daemon=True).start()

    def say(self, text: str, is_last: bool = False) -> bool:
        """What is there now; gives whether it was still waited for.

        What its last words begin with alike stays.
        """
        return self._tell(self.encode(text), "stop" if is_last else None)

    def add(self, text: str) -> bool:
        """``text`` comes behind what was said; the same is given."""
        return self._tell(self._said + self.encode(text), None)

    def _tell(self, said: list[int], ends_with: EndReason | None) -> bool:
        with self._lock:
            if self._ends_with is not None:
                return False
            self._said, self._ends_with = said, ends_with
            self._catch_up()
        return True

    def end(self, reason: EndReason = "stop") -> bool:
        """Nothing more is said; gives whether something could have been."""
        with self._lock:
            was_open = self._ends_with is None
            self._ends_with = self._ends_with or reason
            self._catch_up()
        return was_open

    def _bring(self, call: EngineCall, listener: GuardedRevised) -> None:
        """What was said before its call came is there with it."""
        with self._lock:
            self._call, self._listener, self._started = call, listener, self._now_ns()
            self._catch_up()

    def _catch_up(self) -> None:
        if self._listener is None or self.is_over:
            return
        alike = common_prefix(self._there, self._said)
        if alike < len(self._there):
            self._listener.on_revised(self._call.key, alike, self._now_ns())
        for token in self._said[alike:]:
            self._listener.on_token(self._call.key, token, self._now_ns())
        self.brought += len(self._said) - alike
        self._there = self._said
        if self._ends_with is not None:
            report = CallReport(self._ends_with, self._started, self._now_ns(), 0, 0)
            self._listener.on_end(self._call.key, report)
            self.is_over = True
        self._on_change()


class LiveInput(SaidInput):
    """Brings what a file descriptor gives, word by word, as soon as it is there. For one call.

    It gives UTF-8; what is no such text is brought as �. Who waits for more of it may wait for
    ever, so after a cancelled call its thread is left where it is.
    """

    def __init__(self, descriptor: int, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        super().__init__(now_ns)
        self._descriptor = descriptor

    def _bring(self, call: EngineCall, listener: GuardedRevised) -> None:
        super()._bring(call, listener)
        if self._read(self._descriptor):
            self.end()

    def _read(self, descriptor: int) -> bool:
        """Says what comes from it, as long as somebody hears it; gives whether that was all."""
        return all(map(self.add, words_of(descriptor)))


class LiveUpdates(LiveInput):
    """Brings what a file descriptor says in lines: each is all that is there by then, as what a
    recogniser has heard so far. For one call."""

    def _read(self, descriptor: int) -> bool:
        return all(map(self.say, lines_of(descriptor)))


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
