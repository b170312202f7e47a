"""An engine of models that think: its listeners hear of answers only.

A thought comes before the answer, between tags in the text. It is told apart as it comes, wherever
tokens are cut, and counted in the report. Where the budget of a forced thought is used up, the call
is cancelled and goes on as another one, whose prompt has the thought so far and its closing tag;
what the model computed of it is in the engine's cache.

Only the first call of an answer thinks. Whoever goes on with an answer gets what it wrote after a
thought that is empty.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from executor.engine import CallReport, Engine, EngineCall, Key, Listener, Thought, Tokened
from executor.tokens.streaming_text import StreamingText
from executor.tokens.thought_text import ThoughtText

ONLY_REASONED = "only reasoned"
# After the first: one where its thought has to end, one where that took of the answer's room.
MOST_CALLS = 2


class ThinkingEngine(Tokened):
    """``engine``, where calls with a ``thought`` think."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._engine = engine
        self._lock = threading.RLock()
        self._thinkers: dict[Key, _Thinker] = {}

    def submit(self, call: EngineCall, listener: Listener) -> None:
        if call.thought is None:
            self._engine.submit(call, listener)
            return
        thinker = _Thinker(self, self._engine, call, call.thought, listener)
        with self._lock:
            self._thinkers[call.key] = thinker
        self._engine.submit(thinker.begin(), thinker)

    def cancel(self, key: Key) -> None:
        with self._lock:
            if key in self._thinkers:
                self._thinkers[key].is_cancelled = True
            self._engine.cancel(key)

    # of thinkers

    def stop(self, key: Key) -> None:
        """The call under way, of which no more is needed."""
        self._engine.cancel(key)

    def go_on(self, call: EngineCall, thinker: _Thinker) -> bool:
        """Whether nobody cancelled it."""
        with self._lock:
            if not thinker.is_cancelled:
                self._engine.submit(call, thinker)
            return not thinker.is_cancelled

    def forget(self, key: Key) -> None:
        with self._lock:
            del self._thinkers[key]


class _Thinker:
    """One call, and the listener of the engine's calls for it; ``is_cancelled`` by who made it."""

    def __init__(
        self,
        owner: ThinkingEngine,
        engine: Engine,
        call: EngineCall,
        thought: Thought,
        listener: Listener,
    ) -> None:
        self.is_cancelled = False
        self._owner = owner
        self._engine = engine
        self._call = call
        self._thought = thought
        # Who goes on with an answer has thought before.
        self._budget = 0 if call.written else thought.budget
        self._prompt = list(call.prompt_ids)
        self._listener = listener
        self._text = ThoughtText(thought.tags)
        # What the call under way has made, and how much of it is neither thought nor answer yet.
        self._ids: list[int] = []
        self._held = 0
        self._streaming = StreamingText(engine.spell)
        self._answered = self._thinking = 0
        self._thought_ns: int | None = None
        # Of the call under way, of which no more may be needed.
        self._limit = 0
        self._is_enough = False
        self._prompts: list[int] = []
        self._reports: list[CallReport] = []

    def begin(self) -> EngineCall:
        """The first of the engine's calls: its prompt says whether to think."""
        call, thought = self._call, self._thought
        border = len(self._prompt) - call.own_tokens
        thinks = not call.written and (self._budget > 0 or not thought.is_forced)
        text = thought.lead if thinks else thought.empty
        if thinks and text:
            self._text.open()
        if call.own_tokens:
            self._text.state = "answer"
        self._prompt[border:border] = self._engine.encode(text)
        return self._made(replace(call, max_tokens=call.max_tokens + self._budget))

    def _made(self, call: EngineCall) -> EngineCall:
        """``call`` with the prompt, as the one under way."""
        self._limit = call.max_tokens
        self._ids, self._is_enough = [], False
        self._prompts.append(len(self._prompt))
        return replace(call, prompt_ids=self._prompt)

    # what the engine says

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        if self._is_enough:
            return
        self._ids.append(token)
        if self._text.is_answered:
            self._show([token], time_ns)
            return
        self._held += 1
        shown = self._text.add(self._streaming.update(self._ids))
        if self._text.is_answered:
            self._begin_answer(shown, time_ns)
        elif self._text.has_thought:
            self._think(self._held, time_ns)

    def _think(self, tokens: int, time_ns: int) -> None:
        """The first ``tokens`` of those held are of the thought."""
        if tokens and self._thought_ns is None:
            self._thought_ns = time_ns
        self._thinking += tokens
        self._held -= tokens
        if self._is_spent:
            self._stop()

    @property
    def _is_spent(self) -> bool:
        """Whether the thought has to end."""
        is_open = self._text.state == "open"
        return self._thought.is_forced and is_open and self._thinking >= self._budget

    def _begin_answer(self, shown: str, time_ns: int) -> None:
        """With the tokens as they were made, unless one of them is also of the thought."""
        held = self._ids[len(self._ids) - self._held :]
        if self._text.has_thought:
            count = len(held)
            places = [n for n in range(count) if self._engine.spell(held[n:]) == shown]
            thought = places[0] if places else count
            self._think(thought, time_ns)
            held = held[thought:] or self._engine.encode_content(shown)
        self._held = 0
        self._show(held, time_ns)

    def _show(self, tokens: Sequence[int], time_ns: int) -> None:
        for token in tokens[: self._room]:
            self._answered += 1
            self._listener.on_token(self._call.key, token, time_ns)
        # A call that ends by itself has more to report than one that is cancelled.
        if not self._room and len(self._ids) < self._limit:
            self._stop()

    @property
    def _room(self) -> int:
        return self._call.max_tokens - self._answered

    def _stop(self) -> None:
        self._is_enough = True
        self._owner.stop(self._call.key)

    def on_end(self, key: Key, report: CallReport) -> None:
        self._reports.append(report)
        if report.error is None and self._goes_on(report) and self._owner.go_on(self._next(), self):
            return
        if not self._is_enough:
            self._end_text(report.ended_ns)
        self._owner.forget(key)
        self._listener.on_end(key, self._whole())

    def _goes_on(self, report: CallReport) -> bool:
        """Its thought has to end, or took some of the room that the answer has."""
        if not self._thought.is_forced or len(self._reports) > MOST_CALLS:
            return False
        is_short = report.reason == "length" and self._room > 0 and self._text.has_thought
        return self._is_spent or is_short

    def _next(self) -> EngineCall:
        """The same text in another call, after what it has so far."""
        self._prompt = [*self._prompt, *self._ids]
        if self._text.state == "open":
            self._text.close()
            self._prompt += self._engine.encode(self._thought.closing)
        self._streaming = StreamingText(self._engine.spell)
        return self._made(
            replace(
                self._call,
                max_tokens=self._room,
                own_tokens=self._answered,
                written=self._call.written + self._thinking + self._answered,
            )
        )

    def _end_text(self, time_ns: int) -> None:
        """What looked like the beginning of a tag was none."""
        rest = self._text.end()
        if not self._text.has_thought:
            self._show(self._ids[len(self._ids) - self._held :], time_ns)
        elif rest:
            self._show(self._engine.encode_content(rest), time_ns)

    def _whole(self) -> CallReport:
        """Of all calls together."""
        first, last = self._reports[0], self._reports[-1]
        times = [self._thought_ns, *(one.thought_ns for one in self._reports)]
        thinking = self._thinking + sum(one.thinking_tokens for one in self._reports)
        remarks = [last.remark, ONLY_REASONED if thinking and not self._answered else None]
        is_full = not self._room and last.reason == "cancelled" and not self.is_cancelled
        return replace(
            first,
            reason="length" if is_full else last.reason,
            ended_ns=last.ended_ns,
            busy_ns=sum(one.busy_ns for one in self._reports),
            error=last.error,
            remark=", ".join(dict.fromkeys(filter(None, remarks))) or None,
            thinking_tokens=thinking,
            thought_ns=min((ns for ns in times if ns is not None), default=None),
            added_tokens=self._added_tokens,
            passes=sum(one.passes for one in self._reports),
            guessed_tokens=sum(one.guessed_tokens for one in self._reports),
        )

    @property
    def _added_tokens(self) -> int:
        """Tags in the first prompt, and what later ones had that was in no cache."""
        later = zip(self._prompts[1:], self._reports[1:], strict=False)
        new = sum(tokens - report.cached_tokens for tokens, report in later)
        return self._prompts[0] - len(self._call.prompt_ids) + new
