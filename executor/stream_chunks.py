"""What one event of a server's stream says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executor.server_faults import ServerError, error_words
from staircase.messages import EndReason

DONE = "[DONE]"


@dataclass(frozen=True)
class Usage:
    """Counts of the server's own tokens.

    Attributes:
        cached_tokens: of the prompt; None where the server does not say.
    """

    completion_tokens: int
    cached_tokens: int | None


@dataclass(frozen=True)
class Chunk:
    """Some more of an answer.

    Attributes:
        token_ids: None where the server sends none.
        end: why the answer ended, in its last chunk with text.
        is_refusal: the model, or a filter of the server, refuses to answer.
        is_last: nothing comes after it.
    """

    text: str = ""
    token_ids: tuple[int, ...] | None = None
    end: EndReason | None = None
    usage: Usage | None = None
    is_last: bool = False
    is_refusal: bool = False


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
            f"not a chunk of an answer ({type(error).__name__}): {data:.60}"
        ) from None
    raise ServerError(f"the server broke off: {said}")


def _chunk(content: Any) -> Chunk:
    usage = _usage(content.get("usage"))
    # With n=1 there is one choice; none where the event is there for usage alone.
    choices = content["choices"] or [{}]
    choice = choices[0]
    delta = choice.get("delta")
    text = (choice.get("text") if delta is None else delta.get("content")) or ""
    if not isinstance(text, str):
        raise TypeError("text")
    ids = choice.get("token_ids")
    return Chunk(
        text,
        None if ids is None else tuple(map(int, ids)),
        _end(choice.get("finish_reason")),
        usage,
        is_refusal=_is_refusal(delta, choice.get("finish_reason")),
    )


def _is_refusal(delta: Mapping[str, Any] | None, finish_reason: str | None) -> bool:
    return bool(delta and delta.get("refusal")) or finish_reason == "content_filter"


def _end(finish_reason: str | None) -> EndReason | None:
    if finish_reason in ("abort", "error"):
        raise ServerError(f"the server broke off: finish_reason {finish_reason}")
    if not finish_reason:
        return None
    return "length" if finish_reason == "length" else "stop"


def _usage(content: Mapping[str, Any] | None) -> Usage | None:
    if not content:
        return None
    details = content.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens")
    return Usage(
        int(content.get("completion_tokens") or 0), None if cached is None else int(cached)
    )
