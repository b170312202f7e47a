"""What one server can do, and the requests that it therefore gets.

Strict servers answer unknown fields with 422, lenient ones read over them, so nothing is sent that
the probe (``executor/openai/probe.py``) did not see accepted. What is known of servers without
asking stands here, measured with the versions named:

| | takes ids | returns ids | cached tokens | fields refused | odd |
|---|---|---|---|---|---|
| vLLM 0.32 | yes | yes | with --enable-prompt-tokens-details | none | priority needs its policy |
| llama.cpp 0c1e570 | yes | no | yes | none | min_tokens, priority do nothing |
| transformers serve 5.23 | no | no | no | all but stream_options | no [DONE]; drops_space |
| SGLang 0.5.23 (source) | yes | yes | with --enable-cache-report | none | |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

Api = Literal["completions", "chat"]
# What a server calls the most tokens that it may write; newer chat servers refuse the older name.
Limit = Literal["max_tokens", "max_completion_tokens"]
PATHS: Mapping[Api, str] = {"completions": "completions", "chat": "chat/completions"}

# Without it a chat server ends the assistant's message and begins another one.
CONTINUING = "continue_final_message"
# Fields beyond the oldest ones, with the value that the probe tries.
FIELDS: Mapping[str, Any] = {
    "stream_options": {"include_usage": True},
    "return_token_ids": True,
    "ignore_eos": True,
    "min_tokens": 1,
    "priority": 1,
    "top_p": 1.0,
    "top_k": 1,
    "seed": 1,
    CONTINUING: True,
}
# Texts with different ones find nothing of each other in the prefix cache (vLLM, SGLang).
SALT = "cache_salt"
# Fields that are sent with every request of a server that takes them.
ALWAYS = ("stream_options", "return_token_ids")


@dataclass(frozen=True)
class PromptScores:
    """How a server tells the log-probabilities of a prompt's tokens.

    Attributes:
        form: vLLM's field, or OpenAI's older ``echo`` with ``logprobs``.
        top: how many of the most probable tokens it tells at each position.
    """

    form: Literal["prompt_logprobs", "echo"]
    top: int


# What the probe tries, best first; 20 is vLLM's limit unless it was started with another.
SCORINGS: tuple[PromptScores, ...] = (
    PromptScores("prompt_logprobs", 20),
    PromptScores("prompt_logprobs", 5),
    PromptScores("echo", 20),
    PromptScores("echo", 5),
)


@dataclass(frozen=True)
class ServerProfile:
    """What a probe found.

    Attributes:
        fields: optional fields that it takes, of ``FIELDS``; ``CONTINUING`` only if it does so.
        takes_ids: prompts may be token ids.
        returns_ids: chunks carry the ids of their tokens.
        reports_cached: usage says how much of a prompt was cached.
        limit: its name for the most tokens that it may write.
        least_tokens: the least that it takes there; of what it then writes the rest is not shown.
        drops_space: an answer that begins with a space comes without it, as where a tokenizer
            marks words by their space and the server decodes each answer by itself.
        scores: how it tells the log-probabilities of a prompt of ids; None if it does not.
        salts: it keeps texts with different ``cache_salt`` apart in its prefix cache.
    """

    api: Api
    fields: frozenset[str] = frozenset()
    _: KW_ONLY
    takes_ids: bool = False
    returns_ids: bool = False
    reports_cached: bool = False
    drops_space: bool = False
    limit: Limit = "max_tokens"
    least_tokens: int = 1
    scores: PromptScores | None = None
    salts: bool = False

    @property
    def path(self) -> str:
        return PATHS[self.api]

    @property
    def continues(self) -> bool:
        """Whether the text of an answer can be continued where another call left it."""
        return not self.restates and not self.drops_space

    @property
    def restates(self) -> bool:
        """Whether it goes on only after a text that is restated in the user's message."""
        return self.api == "chat" and CONTINUING not in self.fields

    @property
    def goes_on(self) -> str:
        """How an answer goes on after a call, in words."""
        if self.restates:
            return "its text restated"
        return "cannot: loses a space" if self.drops_space else "where it ended"


@dataclass(frozen=True)
class ServerRequest:
    """One request, whatever the API.

    Attributes:
        prompt: text or token ids, without ``own``.
        own: the end of the prompt that the model itself wrote; always text.
        ignore_end: go on to ``max_tokens`` even if the model ends its text.
        seed: of this request alone, where the server takes one; None: greedy.
    """

    prompt: str | list[int]
    max_tokens: int
    own: str = ""
    ignore_end: bool = False
    seed: int | None = None


def request_body(
    profile: ServerProfile, model: str, settings: Mapping[str, Any], ask: ServerRequest
) -> Any:
    """The request's JSON; ``settings`` are sent as they are where the server takes them."""
    most = max(ask.max_tokens, profile.least_tokens)
    body: dict[str, Any] = {"model": model, "stream": True, profile.limit: most}
    body |= {name: FIELDS[name] for name in ALWAYS if name in profile.fields}
    body |= {
        name: value
        for name, value in settings.items()
        if name not in FIELDS or name in profile.fields
    }
    if ask.seed is not None and "seed" in profile.fields:
        body["seed"] = ask.seed
    if ask.ignore_end and "ignore_eos" in profile.fields:
        body["ignore_eos"] = True
    elif ask.ignore_end and "min_tokens" in profile.fields:
        body["min_tokens"] = ask.max_tokens
    if profile.api == "chat":
        return body | _messages(ask)
    own = ask.own
    return body | {"prompt": ask.prompt + own if isinstance(ask.prompt, str) else ask.prompt}


def prediction(text: str) -> dict[str, Any]:
    """The field that says what an answer will probably be."""
    return {"prediction": {"type": "content", "content": text}}


def _messages(ask: ServerRequest) -> dict[str, Any]:
    messages = [{"role": "user", "content": ask.prompt}]
    if not ask.own:
        return {"messages": messages}
    return {
        "messages": [*messages, {"role": "assistant", "content": ask.own}],
        CONTINUING: True,
        "add_generation_prompt": False,
    }
