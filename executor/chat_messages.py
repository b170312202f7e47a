"""Conversations as messages, for servers that apply the chat template themselves.

On its way to the server a prompt is one text, in which marks that no text has stand where a turn
begins.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from executor.chat_template import NoChatFormatError, Turns, chat_turns

BEGIN, END = "\ue000", "\ue001"
SYSTEM, USER, ASSISTANT = (f"{BEGIN}{role}{END}" for role in ("system", "user", "assistant"))
_TURN = re.compile(f"{BEGIN}(system|user|assistant){END}")
_MARK = re.compile(f"[{BEGIN}{END}]")

Messages = list[dict[str, str]]


def marked_turns(tokenizer: Any) -> Turns:
    """The role is the system's turn only where ``tokenizer``'s template is known to have one."""
    has_system = False
    if getattr(tokenizer, "chat_template", None):
        with suppress(NoChatFormatError):
            has_system = chat_turns(tokenizer).system is not None
    return Turns(USER, (SYSTEM, USER) if has_system else None, ASSISTANT, USER)


def messages_of(prompt: str, own: str) -> Messages:
    """Those of a marked prompt; one without marks is a single message of the user's.

    Args:
        own: how the assistant's last message begins; empty: there is none yet.
    """
    first, *turns = _TURN.split(prompt)
    pairs = list(zip(turns[::2], turns[1::2], strict=True)) or [("user", first)]
    if pairs[-1][0] == "assistant":
        pairs.pop()
    if own:
        pairs.append(("assistant", own))
    return [{"role": role, "content": content} for role, content in pairs]


def without_marks(text: str) -> str:
    return _MARK.sub("", text)
