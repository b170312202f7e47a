"""An engine behind any OpenAI-compatible server.

Every call is one streamed request with the whole prompt; the server's prefix cache spares it from
computing most of it again. Closing the stream cancels the call and frees its slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

from executor.draws import call_seed
from executor.engine import EngineCall, Key, Listener, Tokened
from executor.guarding import Guarded, in_words
from executor.openai.active_call import ActiveCall, Before, Said
from executor.openai.expected_pieces import ExpectedPieces
from executor.openai.judged_guess import JUDGINGS, AskedGuess, judge
from executor.openai.probe import Probe
from executor.openai.restating import Seam, Unseamed, restated
from executor.openai.server import Network, Server
from executor.openai.server_faults import Patience, ServerError
from executor.openai.server_profile import (
    SALT,
    ServerProfile,
    ServerRequest,
    prediction,
    request_body,
)
from executor.openai.server_scoring import ServerScorer
from executor.openai.stream_chunks import Chunk
from executor.openai.vocabularies import ModelTokens, TextPieces, Vocabulary
from executor.scorer import Scorer
from staircase.errors import EngineError
from staircase.messages import EndReason
from staircase.spec.engine_spec import ServerGuesses

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
        guesses: how a server is told what calls guess of their texts; None: it is not.
    """

    model: str
    fields: Mapping[str, Any]
    patience: Patience
    max_concurrency: int
    seed: int | None = None
    is_salted: bool = False
    guesses: ServerGuesses | None = None


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
    def checks_texts(self) -> bool:
        """Whether the server is told what a text will probably be, and need not decode it again."""
        return self._settings.guesses is not None

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
        self._network.post(lambda: self._begin(ActiveCall(call, guarded)))

    def cancel(self, key: Key) -> None:
        self._network.post(lambda: self._cancel(key))

    # in the network's thread

    def _begin(self, active: ActiveCall) -> None:
        key = active.call.key
        if key in self._tasks:
            error = f"call {key} is open already; an engine's calls are those of one runtime"
            active.listener.on_end(key, active.report("cancelled", error))
            return
        task = asyncio.get_running_loop().create_task(self._serve(active))
        self._tasks[key] = task
        task.add_done_callback(lambda task: self._end(active, task))

    def _cancel(self, key: Key) -> None:
        if key in self._tasks:
            self._tasks[key].cancel()

    def _end(self, active: ActiveCall, task: asyncio.Task[EndReason]) -> None:
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

    async def _serve(self, active: ActiveCall) -> EndReason:
        async with self._seats:
            active.started_ns = time.perf_counter_ns()
            await self._judge(active)
            if not active.room:
                return "length"
            reason = await self._settings.patience.insist(lambda: self._attempt(active))
            usage = active.said.usage
            if usage is None or not active.was_cut_short:
                return reason
            active.goes_on(Before(usage.cached_tokens, usage.guessed_tokens))
            return await self._settings.patience.insist(lambda: self._attempt(active))

    async def _judge(self, active: ActiveCall) -> None:
        """Shows how the server says that its text begins, if it can be asked."""
        settings, asked = self._settings, self._asked(active.call)
        judging = JUDGINGS.get(settings.guesses or "")
        if judging is None or not asked.guess:
            return
        found = await judge(self._server, settings.patience, judging, asked, self.special_ids)
        active.show(found.tokens[: active.room])
        active.goes_on(Before(found.cached_tokens, found.kept, found.near_ties))

    def _asked(self, call: EngineCall) -> AskedGuess:
        """Its guess up to what may end a text; nothing of one that is drawn or measured."""
        settings, ends = self._settings, self.special_ids
        is_drawn = call.sampling.get("temperature", 0.0) > 0
        said = () if is_drawn or call.is_measured else call.guess[: call.max_tokens]
        return AskedGuess(
            settings.model,
            list(call.prompt_ids),
            list(takewhile(lambda token: token not in ends, said)),
            {name: value for name, value in settings.fields.items() if name == "priority"},
            call.owner if self.is_salted else "",
        )

    async def _attempt(self, active: ActiveCall) -> EndReason:
        """Once a token was streamed, only who knows the text so far can ask again."""
        active.said = Said()
        try:
            return await self._read(active)
        except ServerError as fault:
            fault.may_pass = fault.may_pass and active.written == len(active.head)
            raise

    async def _read(self, active: ActiveCall) -> EndReason:
        """Shows what comes, but never more than was asked for: the rest was never written."""
        body, seam = self._body(active.left), self._seam(active.left)
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

    def _seam(self, call: EngineCall) -> Seam | Unseamed | ExpectedPieces:
        if not isinstance(self._vocabulary, TextPieces):
            return Unseamed()
        pieces = self._vocabulary
        seam = Seam(self.decode(call.so_far), pieces) if self.restates else Unseamed()
        return ExpectedPieces(seam, call.guess, pieces) if self._predicts(call) else seam

    def _predicts(self, call: EngineCall) -> bool:
        is_asked = self._settings.guesses == "prediction" and not call.is_measured
        return is_asked and bool(call.guess)

    def _reason(self, active: ActiveCall) -> EndReason:
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
        return salt | body | self._thinking_fields(call) | self._prediction(call)

    def _prediction(self, call: EngineCall) -> dict[str, Any]:
        return prediction(self.decode(call.guess)) if self._predicts(call) else {}

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
