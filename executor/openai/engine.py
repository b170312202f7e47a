"""An engine behind any OpenAI-compatible server.

Every call is one streamed request with the whole prompt; the server's prefix cache spares it from
computing most of it again. Closing the stream cancels the call and frees its slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from executor.draws import call_seed
from executor.engine import CallReport, EngineCall, Key, Listener, Tokened
from executor.guarding import Guarded, in_words
from executor.openai.probe import Probe
from executor.openai.restating import Seam, Unseamed, restated
from executor.openai.server import Network, Server
from executor.openai.server_faults import Patience, ServerError
from executor.openai.server_profile import SALT, ServerProfile, ServerRequest, request_body
from executor.openai.server_scoring import ServerScorer
from executor.openai.stream_chunks import Chunk, Usage
from executor.openai.vocabularies import ModelTokens, TextPieces, Vocabulary
from executor.scorer import Scorer
from executor.thinking_engine import ONLY_REASONED
from staircase.errors import EngineError
from staircase.messages import EndReason

REFUSED = "refused"
CALLED_TOOL = "called a tool"
DROPS_SPACE = (
    "loses the space where an answer is continued; use a model whose tokenizer keeps it "
    "(byte-level BPE), or a schedule whose agents write in one call"
)


@dataclass(frozen=True)
class ServerSettings:
    """How calls are sent.

    Attributes:
        fields: sent with every request, as temperature is.
        max_concurrency: calls beyond it wait here, in order.
        seed: every call gets one of its own, which follows from this; None: greedy.
        is_salted: a call finds only what calls of its own request left in the server's cache.
    """

    model: str
    fields: Mapping[str, Any]
    patience: Patience
    max_concurrency: int
    seed: int | None = None
    is_salted: bool = False


@dataclass
class _Said:
    """What a server says of an answer beside its text."""

    usage: Usage | None = None
    end: EndReason | None = None
    unknown_end: str | None = None
    has_reasoned: bool = False
    thinking_tokens: int = 0
    thought_ns: int | None = None
    oddities: dict[str, None] = field(default_factory=dict)

    def note(self, chunk: Chunk) -> None:
        self.usage = chunk.usage or self.usage
        self.end = chunk.end or self.end
        self.unknown_end = chunk.unknown_end or self.unknown_end
        if chunk.is_reasoning:
            self.has_reasoned = True
            self.thinking_tokens += chunk.thinking_tokens
            self.thought_ns = self.thought_ns or time.perf_counter_ns()
        if chunk.is_refusal:
            self.oddities[REFUSED] = None
        if chunk.calls_tool:
            self.oddities[CALLED_TOOL] = None


@dataclass(eq=False)
class _Active:
    """A call that has not ended; of the attempts at it, only the last has its ``said``."""

    call: EngineCall
    listener: Listener
    started_ns: int = field(default_factory=time.perf_counter_ns)
    written: int = 0
    said: _Said = field(default_factory=_Said)

    @property
    def room(self) -> int:
        return self.call.max_tokens - self.written

    @property
    def uncounted(self) -> int:
        """Tokens that the server wrote and whose text came with that of others.

        None are known where it may have counted others too, of which nothing was shown.
        """
        usage = self.said.usage
        if self.said.end != "length" or not usage or not self.written:
            return 0
        if self.said.has_reasoned and not usage.reasoning_tokens:
            return 0
        return max(0, min(usage.completion_tokens - self.written, self.room))

    def show(self, tokens: Sequence[int]) -> None:
        now = time.perf_counter_ns()
        for token in tokens:
            self.written += 1
            self.listener.on_token(self.call.key, token, now)

    def report(self, reason: EndReason, error: str | None) -> CallReport:
        """Nobody knows how busy a server's device was, so the call's whole time counts."""
        now = time.perf_counter_ns()
        cached = self.said.usage.cached_tokens if self.said.usage else None
        taken_ns = now - self.started_ns
        return CallReport(
            reason,
            self.started_ns,
            now,
            taken_ns,
            cached or 0,
            error,
            self._remark(reason),
            self._thinking_tokens,
            self.said.thought_ns,
        )

    @property
    def _thinking_tokens(self) -> int:
        """As the server counts them, or else the pieces in which they came."""
        usage = self.said.usage
        return (usage and usage.reasoning_tokens) or self.said.thinking_tokens

    def _remark(self, reason: EndReason) -> str | None:
        said, oddities = self.said, list(self.said.oddities)
        if reason != "cancelled" and said.end is None and said.unknown_end is not None:
            oddities.append(f"ended by finish_reason {said.unknown_end!r}")
        if said.has_reasoned and not self.written:
            oddities.append(ONLY_REASONED)
        return ", ".join(oddities) or None


class OpenAIEngine(Tokened):
    """Serves calls by ``server``, of which a probe found ``profile``."""

    def __init__(
        self,
        network: Network,
        server: Server,
        profile: ServerProfile,
        settings: ServerSettings,
        vocabulary: Vocabulary,
    ) -> None:
        super().__init__(vocabulary)
        self._network = network
        self._server = server
        self._profile = profile
        self._settings = settings
        self._vocabulary = vocabulary
        self._seats = asyncio.Semaphore(settings.max_concurrency)
        self._tasks: dict[Key, asyncio.Task[EndReason]] = {}

    @property
    def reports_cached(self) -> bool:
        """Whether reports say how much of a prompt was cached; 0 where they do not."""
        return self._profile.reports_cached

    @property
    def sends_ids(self) -> bool:
        """Whether prompts are sent as token ids, not as text."""
        return isinstance(self._vocabulary, ModelTokens)

    @property
    def template_tokenizer(self) -> PreTrainedTokenizerBase | None:
        """Whose chat template prompts follow; None where unknown, or the server applies it."""
        return self._vocabulary.tokenizer if self._profile.api == "completions" else None

    @property
    def applies_template(self) -> bool:
        """Whether the server makes prompts of messages."""
        return self._profile.api == "chat"

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        return self._vocabulary.tokenizer

    @property
    def settable(self) -> frozenset[str]:
        """What a request may wish, as in ``ServedModel.settable``."""
        found = {"temperature", *({"top_p", "top_k", "seed"} & self._profile.fields)}
        if self._profile.fields & {"ignore_eos", "min_tokens"}:
            found.add("ignore_end")
        return frozenset(found)

    def takes(self, fields: Mapping[str, Any]) -> bool:
        """Whether the server takes a request with more ``fields``.

        Raises:
            EngineError: it does not answer any more.
        """
        settings = self._settings
        probe = Probe(self._server, settings.model, settings.fields, settings.patience)
        try:
            return self._network.run(probe.takes(self._profile, fields))
        except ServerError as fault:
            raise EngineError(str(fault)) from None

    @property
    def restates(self) -> bool:
        """Whether an answer goes on only after its text was restated in the user's message."""
        return self._profile.restates

    @property
    def is_salted(self) -> bool:
        """Whether requests are kept apart in the server's cache; headers are too."""
        return self._settings.is_salted

    @property
    def scorer(self) -> Scorer | None:
        """None where the server cannot score, or tokens are not the model's own."""
        scores = self._profile.scores
        if scores is None or not isinstance(self._vocabulary, ModelTokens):
            return None
        settings = self._settings
        return ServerScorer(
            self._network,
            self._server,
            settings.model,
            scores,
            settings.patience,
            settings.max_concurrency,
        )

    def submit(self, call: EngineCall, listener: Listener) -> None:
        guarded = Guarded(listener, self.cancel)
        self._network.post(lambda: self._begin(_Active(call, guarded)))

    def cancel(self, key: Key) -> None:
        self._network.post(lambda: self._cancel(key))

    # in the network's thread

    def _begin(self, active: _Active) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(active))
        self._tasks[active.call.key] = task
        task.add_done_callback(lambda task: self._end(active, task))

    def _cancel(self, key: Key) -> None:
        if key in self._tasks:
            self._tasks[key].cancel()

    def _end(self, active: _Active, task: asyncio.Task[EndReason]) -> None:
        del self._tasks[active.call.key]
        reason: EndReason = "cancelled"
        error = None
        if not task.cancelled():
            problem = task.exception()
            if problem is None:
                reason = task.result()
            else:
                is_told = isinstance(problem, ServerError)
                error = str(problem) if is_told else in_words(problem)
        active.listener.on_end(active.call.key, active.report(reason, error))

    async def _serve(self, active: _Active) -> EndReason:
        async with self._seats:
            active.started_ns = time.perf_counter_ns()
            return await self._settings.patience.insist(lambda: self._attempt(active))

    async def _attempt(self, active: _Active) -> EndReason:
        """Once a token was shown, only who knows the text so far can ask again."""
        active.said = _Said()
        try:
            return await self._read(active)
        except ServerError as fault:
            fault.may_pass = fault.may_pass and not active.written
            raise

    async def _read(self, active: _Active) -> EndReason:
        """Shows what comes, but never more than was asked for: the rest was never written."""
        body, seam = self._body(active.call), self._seam(active.call)
        async with aclosing(self._server.stream(self._profile.path, body)) as chunks:
            async for chunk in chunks:
                tokens = seam.pass_on(self._vocabulary.read(chunk))
                active.said.note(chunk)
                surplus = len(tokens) > active.room
                active.show(tokens[: active.room])
                if surplus:
                    return "length"
        active.show(seam.rest()[: active.room])
        return self._reason(active)

    def _seam(self, call: EngineCall) -> Seam | Unseamed:
        if self.restates and isinstance(self._vocabulary, TextPieces):
            return Seam(self.decode(call.so_far), self._vocabulary)
        return Unseamed()

    def _reason(self, active: _Active) -> EndReason:
        if not isinstance(self._vocabulary, ModelTokens):
            nothing = Chunk(token_ids=(0,) * active.uncounted)
            active.show(self._vocabulary.read(nothing))
        # Some servers end with [DONE] and no reason.
        return active.said.end or ("stop" if active.room else "length")

    def _body(self, call: EngineCall) -> Any:
        ask = self._ask(call)
        if ask.own and not self._profile.continues:
            raise ServerError(f"{self._server.address.base_url}: {DROPS_SPACE}")
        salt = {SALT: call.owner} if self.is_salted and call.owner else {}
        fields = {**self._settings.fields, **call.sampling}
        body = request_body(self._profile, self._settings.model, fields, ask)
        return salt | body | self._thinking_fields(call)

    @staticmethod
    def _thinking_fields(call: EngineCall) -> dict[str, Any]:
        thought = call.thought
        return dict((thought.later_fields if call.written else thought.fields) if thought else {})

    def _ask(self, call: EngineCall) -> ServerRequest:
        ids, seed = list(call.prompt_ids), self._settings.seed
        if seed is not None or call.sampling.get("temperature"):
            seed = call_seed(seed or 0, call.place_after(0))
        if isinstance(self._vocabulary, ModelTokens):
            return ServerRequest(ids, call.max_tokens, ignore_end=call.ignore_end, seed=seed)
        border = len(ids) - call.own_tokens
        prompt, own = self.decode(ids[:border]), self.decode(ids[border:])
        if self.restates:
            so_far = self.decode(call.so_far)
            prompt, own = restated(prompt, so_far) if so_far else prompt, ""
        return ServerRequest(prompt, call.max_tokens, own, call.ignore_end, seed)
