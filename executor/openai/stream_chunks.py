"""What one event of a server's stream says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executor.openai.server_faults import ServerError, error_words, told
from staircase.messages import EndReason

DONE = "[DONE]"
# What servers call the ends of an answer, in lower case.
ENDS: Mapping[str, EndReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "stop_sequence", "end_turn"), "stop"),
    **dict.fromkeys(("content_filter", "refusal"), "stop"),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
}
BROKEN_ENDS = ("abort", "error", "insufficient_system_resource")
# Some servers write JSON's null as a word.
NO_ENDS = ("", "null", "none")
REFUSING_ENDS = ("content_filter", "refusal")
CALLING_ENDS = ("tool_calls", "tool_use", "function_call")
# Where servers put what a model thinks before it answers.
REASONING = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True)
class Usage:
    """Counts of the server's own tokens.

    Attributes:
        completion_tokens: of the answer, without those of reasoning and of predictions that were
            wrong if the server tells them.
        cached_tokens: of the prompt; None where the server does not say.
        reasoning_tokens: 0 where the server does not say.
        guessed_tokens: of the answer, those that a prediction or the server's own speculation had
            right; 0 where the server does not say.
        rejected_tokens: of a prediction, that were wrong; they count against ``max_tokens``.
        passes: in which the answer was written; 0 where the server does not say.
    """

    completion_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int = 0
    guessed_tokens: int = 0
    rejected_tokens: int = 0
    passes: int = 0


@dataclass(frozen=True)
class Chunk:
    """Some more of an answer.

    Attributes:
        token_ids: None where the server sends none.
        end: why the answer ended, in its last chunk with text.
        unknown_end: a finish_reason that is in no list: the answer's end if nothing comes after it.
        is_last: nothing comes after it.
        is_refusal: the model, or a filter of the server, refuses to answer.
        calls_tool: the model calls a tool in place of writing.
        is_reasoning: holds some of what the model thinks before it answers, which is not read.
        thinking_tokens: that the server counts of it; 1 where it sends none.
    """

    text: str = ""
    token_ids: tuple[int, ...] | None = None
    end: EndReason | None = None
    usage: Usage | None = None
    unknown_end: str | None = None
    is_last: bool = False
    is_refusal: bool = False
    calls_tool: bool = False
    is_reasoning: bool = False
    thinking_tokens: int = 0

    @property
    def ends(self) -> bool:
        return self.is_last or self.end is not None


def read_chunk(data: str) -> Chunk:
    """The chunk in an event's ``data``.

    Raises:
        ServerError: it is an error object, or not a chunk.
    """
    if data.strip() == DONE:
        return Chunk(is_last=True)
    try:
        content = json.loads(data)
        said = error_words(content)
        if said is None:
            return _chunk(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ServerError(
            f"not a chunk of an answer ({type(error).__name__}): {told(data)}"
        ) from None
    raise ServerError(f"the server broke off: {said}")


def _chunk(content: Mapping[str, Any]) -> Chunk:
    """With n=1 there is one choice; none where an event is there for usage, or to keep alive."""
    usage = _usage(content.get("usage"), content.get("timings"))
    choices = content.get("choices") or [{}]
    choice = choices[0]
    delta = choice.get("delta") or {}
    reason = _finish_reason(choice.get("finish_reason"))
    said = choice.get("text") if choice.get("delta") is None else delta.get("content")
    text = _text(said)
    is_reasoning = any(delta.get(name) for name in REASONING) or _has_thoughts(said)
    ids = choice.get("token_ids")
    thinking = 1 if is_reasoning else 0
    if is_reasoning and not text:
        thinking, ids = len(ids or "-"), None
    return Chunk(
        text,
        None if ids is None else tuple(map(int, ids)),
        ENDS.get(reason),
        usage,
        unknown_end=None if reason in ENDS or reason in NO_ENDS else reason,
        is_refusal=bool(delta.get("refusal")) or reason in REFUSING_ENDS,
        calls_tool=bool(delta.get("tool_calls")) or reason in CALLING_ENDS,
        is_reasoning=is_reasoning,
        thinking_tokens=thinking,
    )


def _text(said: Any) -> str:
    """Of a text, or of a list of parts among which are some of text."""
    if isinstance(said, list):
        parts = [part for part in said if not _is_thought(part)]
        return "".join(part if isinstance(part, str) else _text(part.get("text")) for part in parts)
    if not isinstance(said, str | None):
        raise TypeError("text")
    return said or ""


def _has_thoughts(said: Any) -> bool:
    return isinstance(said, list) and any(map(_is_thought, said))


def _is_thought(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in REASONING


def _finish_reason(said: Any) -> str:
    if not isinstance(said, str | None):
        raise TypeError("finish_reason")
    reason = (said or "").strip().lower()
    if reason in BROKEN_ENDS:
        raise ServerError(f"the server broke off: finish_reason {reason}")
    return reason


def _usage(
    content: Mapping[str, Any] | None, timings: Mapping[str, Any] | None = None
) -> Usage | None:
    """``timings`` are llama-server's, which counts there what its speculation had right."""
    if not content:
        return None
    cached = (content.get("prompt_tokens_details") or {}).get("cached_tokens")
    details, timings = content.get("completion_tokens_details") or {}, timings or {}
    reasoning = _count(details, "reasoning_tokens")
    rejected = _count(details, "rejected_prediction_tokens")
    drafted, written = _count(timings, "draft_n_accepted"), _count(timings, "predicted_n")
    return Usage(
        max(0, _count(content, "completion_tokens") - reasoning - rejected),
        None if cached is None else int(cached),
        reasoning,
        drafted or _count(details, "accepted_prediction_tokens"),
        rejected,
        max(0, written - drafted),
    )


def _count(content: Mapping[str, Any], name: str) -> int:
    return int(content.get(name) or 0)
