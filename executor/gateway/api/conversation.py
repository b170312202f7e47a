"""From a conversation's messages to what agents are asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from executor.gateway.api.api_error import ApiError, refusal
from executor.gateway.api.bodies import Message
from staircase.workload import Question

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
BETWEEN = "\n\n"


@dataclass(frozen=True)
class Conversation:
    """What is asked now, after earlier turns.

    Attributes:
        system: what the client says of how to answer; it follows each agent's own role.
    """

    question: Question
    system: str = ""


def conversation_of(messages: Iterable[Message]) -> Conversation:
    """System messages first, then turns of user and assistant; the user speaks last.

    Messages of the same role that follow each other are one, with an empty line between them.

    Raises:
        ApiError: the messages are not such a conversation.
    """
    said = _joined((_role(one, n), _text(one, n)) for n, one in enumerate(messages))
    system = said.pop(0)[1] if said and said[0][0] == "system" else ""
    roles = [role for role, _ in said]
    if "system" in roles:
        raise refusal("messages", "system messages must stand before all others")
    if not roles or roles[0] != "user" or roles[-1] != "user":
        raise refusal("messages", "must begin and end with one of the user, beside system messages")
    texts = [text for _, text in said]
    earlier = tuple(zip(texts[:-1:2], texts[1::2], strict=True))
    return Conversation(Question(texts[-1], earlier=earlier), system)


def checked_text(text: str, param: str) -> str:
    """Raises ApiError where ``text`` is none: half of a surrogate pair cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ApiError(400, "invalid_value", f"{param}: must be valid Unicode", param) from None
    return text


def _role(message: Message, place: int) -> str:
    if message.role not in ROLES:
        known = ", ".join(ROLES)
        raise refusal(f"messages[{place}].role", f"{message.role!r} must be one of {known}")
    return ROLES[message.role]


def _text(message: Message, place: int) -> str:
    param = f"messages[{place}].content"
    if message.content is None:
        raise refusal(param, "must be text")
    if isinstance(message.content, str):
        return checked_text(message.content, param)
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise refusal(param, f"parts must be of type 'text', not {part.type!r}")
    return checked_text("".join(part.text or "" for part in message.content), param)


def _joined(said: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    joined: list[tuple[str, str]] = []
    for role, text in said:
        if joined and joined[-1][0] == role:
            joined[-1] = (role, BETWEEN.join([joined[-1][1], text]))
        else:
            joined.append((role, text))
    return joined


def asked_text(question: Question) -> Sequence[str]:
    """All that the user said."""
    return [*(asked for asked, _ in question.earlier), question.query]
