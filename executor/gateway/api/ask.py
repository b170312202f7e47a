"""A request as it is played: what its body asks for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from executor.engine import Wish
from executor.gateway.api.api_error import refusal
from executor.gateway.api.bodies import EFFECTLESS, Body, ChatBody, CompletionBody, Kind
from executor.gateway.api.conversation import Conversation, checked_text, conversation_of
from executor.runtime import ServedModel
from staircase.workload import Question

SAMPLING = ("temperature", "top_p", "top_k")


@dataclass(frozen=True)
class AnswerRequest:
    """One request.

    Attributes:
        model: a plan's name, or ``NAME@POINT``.
        max_tokens: None: as many as the plan's answer may have.
        stop: texts before the first of which the answer ends.
        sampling: how the answer's tokens are drawn, as far as the request says it.
        ignore_end: the answer goes on to ``max_tokens``.
        has_usage: the stream ends with a chunk of usage.
        live: inputs that are said while it is answered.
        corrects: text may be shown that is taken back.
    """

    kind: Kind
    model: str
    conversation: Conversation
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Mapping[str, float] = field(default_factory=dict)
    ignore_end: bool = False
    seed: int | None = None
    is_streamed: bool = False
    has_usage: bool = False
    deadline_s: float | None = None
    live: tuple[str, ...] = ()
    corrects: bool = False

    def wish(self, served: ServedModel) -> Wish:
        """For the model that answers.

        Raises:
            ApiError: its engine cannot do what is asked for.
        """
        if self.ignore_end and "ignore_end" not in served.settable:
            raise refusal("ignore_eos", "the engine that answers always ends where its model does")
        return Wish(self.ignore_end, self._drawn(served))

    def check_seed(self, served: Mapping[str, ServedModel], answering: str) -> None:
        """Of engines by name, of which ``answering`` gets the request's own temperature.

        Raises:
            ApiError: one of them draws, and takes no seed.
        """
        if self.seed is None:
            return
        for name, one in served.items():
            own = one.own.get("temperature", 0.0)
            drawn = self.sampling.get("temperature", own) if name == answering else own
            if drawn and "seed" not in one.settable:
                raise refusal("seed", f"engine {name!r} takes none")

    def _drawn(self, served: ServedModel) -> Mapping[str, float]:
        temperature = self.sampling.get("temperature", served.own.get("temperature", 0.0))
        wished = {n: v for n, v in self.sampling.items() if v != served.own.get(n)}
        if temperature == 0:
            # Nothing is drawn, so the others change nothing.
            wished = {n: v for n, v in wished.items() if n == "temperature"}
        for name, value in wished.items():
            if name not in served.settable:
                own = served.own.get(name)
                raise refusal(
                    name,
                    f"{value:g} cannot be had here: the engine that answers has {own:g} for all "
                    "requests; leave it out",
                )
        return wished


def ask_of(body: Body) -> AnswerRequest:
    """What ``body`` asks for.

    Raises:
        ApiError: something that is not done here.
    """
    _check_effectless(body.model_extra or {})
    options = body.stream_options
    if options and options.continuous_usage_stats:
        raise refusal("stream_options.continuous_usage_stats", "usage comes once, at the end")
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    most = _most(body)
    return AnswerRequest(
        "chat" if isinstance(body, ChatBody) else "text",
        checked_text(body.model, "model"),
        _with_inputs(_conversation(body), body.inputs or {}),
        most,
        tuple(checked_text(stop, "stop") for stop in stops),
        _sampling(body),
        _ignores_end(body, most),
        body.seed,
        bool(body.stream),
        bool(options and options.include_usage),
        body.deadline_s,
        _live(body),
        bool(body.corrections),
    )


def _check_effectless(extra: Mapping[str, Any]) -> None:
    for name in extra.keys() & EFFECTLESS.keys():
        value, harmless = extra[name], EFFECTLESS[name]
        # False is no 0 here: logprobs of 0 asks for some.
        is_same = any(value == one and isinstance(value, bool) == isinstance(one, bool)
                      for one in harmless)  # fmt: skip
        if value is not None and not is_same:
            known = " or ".join(map(repr, harmless))
            raise refusal(name, f"is not supported{f' beyond {known}' if known else ''}")


def _conversation(body: Body) -> Conversation:
    if isinstance(body, ChatBody):
        return conversation_of(body.messages)
    assert isinstance(body, CompletionBody)
    prompt = body.prompt[0] if isinstance(body.prompt, list) and len(body.prompt) == 1 else None
    text = body.prompt if isinstance(body.prompt, str) else prompt
    if not isinstance(text, str):
        raise refusal("prompt", "must be one text: several, or token ids, are not supported")
    return Conversation(Question(checked_text(text, "prompt")))


def _with_inputs(said: Conversation, inputs: Mapping[str, str]) -> Conversation:
    for name, text in inputs.items():
        checked_text(text, f"inputs.{name}")
    return replace(said, question=replace(said.question, inputs=dict(inputs)))


def _live(body: Body) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(body.live_inputs or ()))
    if names and not body.stream:
        raise refusal("live_inputs", "need stream: true, as they are said to the id of the stream")
    for name in names:
        if name in (body.inputs or {}):
            raise refusal("live_inputs", f"{name!r} is said in inputs, too; say it in one of them")
    return names


def _most(body: Body) -> int | None:
    newer = body.max_completion_tokens if isinstance(body, ChatBody) else None
    if newer is not None and body.max_tokens not in (None, newer):
        raise refusal("max_tokens", "differs from max_completion_tokens; give one of them")
    return newer if newer is not None else body.max_tokens


def _sampling(body: Body) -> dict[str, float]:
    given = {name: getattr(body, name) for name in SAMPLING}
    found = {name: value for name, value in given.items() if value is not None}
    if found.get("top_k") == -1:
        found["top_k"] = 0
    return found


def _ignores_end(body: Body, most: int | None) -> bool:
    """As many tokens as there may be at most are had by not ending before."""
    if body.min_tokens and body.min_tokens != most:
        raise refusal("min_tokens", "must be 0, or max_tokens")
    return bool(body.ignore_eos) or bool(body.min_tokens)
