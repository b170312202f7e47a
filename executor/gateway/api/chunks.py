"""Answers in the shapes of OpenAI's API: whole, or as the chunks of a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from executor.gateway.api.api_error import ApiError
from executor.gateway.api.bodies import Kind

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": the answer is on its way\n\n"
OBJECTS: Mapping[Kind, tuple[str, str, str]] = {
    "chat": ("chatcmpl", "chat.completion.chunk", "chat.completion"),
    "text": ("cmpl", "text_completion", "text_completion"),
}


Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Fall:
    """What still stands of the text that was sent: so many characters, of so many tokens."""

    characters: int
    tokens: int


@dataclass(frozen=True)
class AnswerPiece:
    """What a token of the answer adds, or of a draft, or how far the answer falls.

    Attributes:
        finish: why the answer ends with it; None if it goes on.
        is_token: false of what comes with no token of the answer.
    """

    text: str = ""
    reasoning: str = ""
    finish: Finish | None = None
    is_token: bool = True
    fall: Fall | None = None


class Shape:
    """What one request is answered in."""

    def __init__(self, kind: Kind, number: str, created_s: int, model: str) -> None:
        prefix, self._chunk, self._whole = OBJECTS[kind]
        self._is_chat = kind == "chat"
        self.id = f"{prefix}-{number}"
        self._head = {"id": self.id, "created": created_s, "model": model}

    def role(self) -> bytes:
        """The first chunk; completions have none."""
        if not self._is_chat:
            return b""
        return self._event([self._delta({"role": "assistant", "content": ""}, None)])

    def piece(self, piece: AnswerPiece, more: Mapping[str, Any]) -> bytes:
        """With what ``more`` is told beside it."""
        if piece.fall is not None:
            more = {"staircase": {"keeps": piece.fall.characters}}
        if not self._is_chat:
            choice = {"index": 0, "text": piece.text, "logprobs": None}
            return self._event([choice | {"finish_reason": piece.finish}], more)
        delta = {} if piece.reasoning else {"content": piece.text}
        if piece.reasoning:
            delta["reasoning_content"] = piece.reasoning
        return self._event([self._delta(delta, piece.finish)], more)

    def usage(self, usage: Mapping[str, Any], account: Mapping[str, Any]) -> bytes:
        return self._event([], {"usage": usage, "staircase": account})

    def error(self, error: ApiError) -> bytes:
        return _data(error.body)

    def whole(
        self,
        text: str,
        reasoning: str,
        finish: str,
        usage: Mapping[str, Any],
        account: Mapping[str, Any],
    ) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        if self._is_chat:
            message = {"role": "assistant", "content": text, "refusal": None}
            choice["message"] = message | ({"reasoning_content": reasoning} if reasoning else {})
        else:
            choice["text"] = text
        whole = {**self._head, "object": self._whole, "choices": [choice]}
        return whole | {"usage": usage, "staircase": account}

    @staticmethod
    def _delta(delta: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}

    def _event(self, choices: list[dict[str, Any]], more: Mapping[str, Any] | None = None) -> bytes:
        return _data({**self._head, "object": self._chunk, "choices": choices, **(more or {})})


def _data(content: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
