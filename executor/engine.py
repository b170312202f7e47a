"""What serves calls to one real model: the protocol that every engine keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from executor.draws import TextPosition
from executor.prefix import common_prefix
from staircase.messages import EndReason

# A call's name: (request, call number), or whatever pair the caller finds unique.
Key = tuple[int, int]


@dataclass(frozen=True)
class Thought:
    """How a model thinks before it answers: a thought is no part of what a call writes.

    Attributes:
        tags: around a thought.
        budget: tokens that it may think besides the call's ``max_tokens``.
        is_forced: its thought is closed when the budget is used up; else the server sees to that,
            or thinking takes what the answer could have had.
        lead: the end of a prompt after which the model thinks, if the model does not write it.
        empty: stands there instead where the model goes on with an answer: a thought that is over.
        fields: that a server gets with a call that may think.
        later_fields: that it gets with one that goes on with an answer.
    """

    tags: tuple[str, str]
    budget: int = 0
    is_forced: bool = False
    lead: str = ""
    empty: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    later_fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def closing(self) -> str:
        """What ends a thought that has to end."""
        return f"\n{self.tags[1]}{self.empty.rpartition(self.tags[1])[2]}"


@dataclass(frozen=True)
class Wish:
    """How one request wants an agent's text written.

    Attributes:
        ignore_end: go on to ``max_tokens`` even if the model ends its text.
        sampling: ``temperature``, ``top_p`` or ``top_k`` in place of the engine's own, for engines
            whose calls may have their own (``ServedModel.settable``).
    """

    ignore_end: bool = False
    sampling: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TextUpdate:
    """``seconds`` after its request came only the first ``standing`` tokens of an input stand, and
    ``ids`` follow them."""

    seconds: float
    standing: int
    ids: Sequence[int]


@dataclass(frozen=True)
class EngineCall:
    """A generation request in token ids.

    Attributes:
        key: chosen by the caller, unique among its calls.
        ignore_end: go on to ``max_tokens`` even if the model ends its text.
        own_tokens: how many tokens at the prompt's end the model itself wrote before.
        text: names the text that the call writes or continues, for sampling: what is drawn depends
            on this name and the token's position in the text.
        written: tokens of that text from earlier calls, wherever they stand in the prompt.
        so_far: these tokens, for servers that can go on only after a text that is restated.
        owner: the request that the call belongs to; of what calls of others left in a cache, only
            the first ``header_tokens`` are used again. Empty: of whatever was left.
        thought: how the model thinks before it answers, if it does.
        sampling: as in ``Wish``.
        updates: how an input comes, if it replaces part of what it said.
        guess: what the text is thought to go on with first, as when it is written anew. A hint: an
            engine that can checks it in the pass that ends the prefill, and tokens that it would
            have written anyway cost no pass of their own; the others mean nothing.
        is_measured: it is there to see what a pass costs, so nothing is guessed.
        pass_tokens: of such a call, that each pass computes: those after the first stand where
            others would have a guess, and are mostly wrong.
    """

    key: Key
    prompt_ids: Sequence[int]
    max_tokens: int
    ignore_end: bool = False
    own_tokens: int = 0
    text: str = ""
    written: int = 0
    so_far: Sequence[int] = ()
    owner: str = ""
    header_tokens: int = 0
    thought: Thought | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    updates: Sequence[TextUpdate] = ()
    guess: Sequence[int] = ()
    is_measured: bool = False
    pass_tokens: int = 1

    def reusable(self, ids: list[int], owner: str) -> int:
        """Tokens of a cached text, of ``owner``, with which the prompt begins too.

        The last token of the prompt never counts: its logits give the first new one. Questions
        that are asked again, as schedules are compared on, thus find no more than new ones do.
        """
        prompt = list(self.prompt_ids)
        found = min(common_prefix(ids, prompt), len(prompt) - 1)
        return min(found, self.header_tokens) if self.owner and owner != self.owner else found

    def place_after(self, count: int) -> TextPosition:
        """Of the token after ``count`` of this call."""
        return TextPosition(self.text, self.written + count)


@dataclass(frozen=True)
class CallReport:
    """How a call went; times are of ``time.perf_counter_ns``.

    Attributes:
        started_ns: when its prefill began.
        busy_ns: device time that it used.
        remark: what is odd about its text though it did not fail, as that the model refused.
        thinking_tokens: that the model thought before its answer; listeners hear of none of them.
        thought_ns: when the first of them was there.
        added_tokens: that were in its prompt besides those of the call, as the tags of a thought.
        passes: of the model, each of which gave it at least one token; 0 where that is not known.
        guessed_tokens: that were guessed, and kept as they were right.
        near_ties: tokens of the guess that were judged where two were about as likely.
    """

    reason: EndReason
    started_ns: int
    ended_ns: int
    busy_ns: int
    cached_tokens: int
    error: str | None = None
    remark: str | None = None
    thinking_tokens: int = 0
    thought_ns: int | None = None
    added_tokens: int = 0
    passes: int = 0
    guessed_tokens: int = 0
    near_ties: int = 0


class Listener(Protocol):
    """Who wants to know; called in the engine's thread, so it should be quick.

    An exception in ``on_token`` ends the call with its words as the error (``executor.guarding``).
    """

    def on_token(self, key: Key, token: int, time_ns: int) -> None: ...

    def on_end(self, key: Key, report: CallReport) -> None: ...


class RevisedListener(Listener, Protocol):
    """Of an input, which may replace part of what it said."""

    def on_revised(self, key: Key, standing: int, time_ns: int) -> None:
        """Of what stands only the first ``standing`` tokens do from now on."""
        ...


class Tokens(Protocol):
    """What a model's token ids mean."""

    @property
    def vocabulary(self) -> str:
        """Those with the same value share token ids."""
        ...

    @property
    def special_ids(self) -> frozenset[int]:
        """Of tokens that no text spells, as those that end a turn."""
        ...

    def encode(self, text: str) -> list[int]: ...

    def encode_content(self, text: str) -> list[int]:
        """As ``encode``, but nothing in ``text`` is a special token, whatever it spells."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def spell(self, ids: Sequence[int]) -> str:
        """As ``decode``, with special tokens."""
        ...


class Tokened:
    """Whose tokens are those of ``tokens``."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    @property
    def vocabulary(self) -> str:
        return self._tokens.vocabulary

    @property
    def special_ids(self) -> frozenset[int]:
        return self._tokens.special_ids

    def encode(self, text: str) -> list[int]:
        return self._tokens.encode(text)

    def encode_content(self, text: str) -> list[int]:
        return self._tokens.encode_content(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokens.decode(ids)

    def spell(self, ids: Sequence[int]) -> str:
        return self._tokens.spell(ids)


class Source(Tokens, Protocol):
    """What writes an agent's text for a request that hears of revisions: an engine, or an input."""

    def submit(self, call: EngineCall, listener: RevisedListener) -> None: ...

    def cancel(self, key: Key) -> None: ...


class Engine(Tokens, Protocol):
    """Serves calls to one model.

    Every submitted call gets its tokens in order and then exactly one ``on_end``, whatever happens.
    Submitting and cancelling are allowed from any thread, also from within a listener, and never
    call a listener before they return.
    """

    def submit(self, call: EngineCall, listener: Listener) -> None: ...

    def cancel(self, key: Key) -> None:
        """End the call with reason ``cancelled``; nothing happens if it has ended."""
        ...
