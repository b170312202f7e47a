"""What goes wrong between us and a server, each in one line, and when to try again."""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from staircase.errors import EngineError

T = TypeVar("T")
# Statuses after which the same request may go through a little later.
PASSING_STATUSES = frozenset({408, 409, 425, 429, *range(500, 600)} - {501, 505})
HINTS = {
    401: "; api_key_env names the variable that holds the key",
    403: "; api_key_env names the variable that holds the key",
    404: "; look at base_url (it ends in /v1 with most servers) and model",
}
TLS_HINTS = {
    "CERTIFICATE_VERIFY_FAILED": "; ca_file names a file of the certificates to trust",
    "WRONG_VERSION_NUMBER": "; base_url says https, the server speaks http",
}
MOST_WORDS = 200
_PAGE = re.compile(r"<title>\s*(.*?)\s*</title>", re.IGNORECASE | re.DOTALL)


def told(words: str) -> str:
    """What a server said, as it is told: in one line, which is not long."""
    line = " ".join(words.split())
    return line if len(line) <= MOST_WORDS else f"{line[: MOST_WORDS - 1]}…"


class ServerError(EngineError):
    """A request to a server failed.

    Attributes:
        status: of the HTTP response, where there was one that told the failure.
        may_pass: the same request may succeed a little later.
        retry_after_s: how long the server asked to wait.
    """

    def __init__(
        self,
        words: str,
        status: int | None = None,
        may_pass: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(words)
        self.status = status
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Patience:
    """When a request is sent again: at most ``tries`` times in all, waiting longer each time.

    A server that asks for more than ``most_wait_s`` is not waited for.
    """

    tries: int
    most_wait_s: float
    first_wait_s: float = 0.25

    def wait_s(self, fault: ServerError, tried: int) -> float | None:
        """Seconds to wait after ``tried`` tries; None to give up."""
        if not fault.may_pass or tried >= self.tries:
            return None
        wait_s = self.first_wait_s * 2 ** (tried - 1)
        wait_s = max(wait_s, fault.retry_after_s or 0.0)
        return wait_s if wait_s <= self.most_wait_s else None

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What the first successful ``attempt`` gives.

        Raises:
            ServerError: the last fault.
        """
        tried = 0
        while True:
            tried += 1
            try:
                return await attempt()
            except ServerError as fault:
                wait_s = self.wait_s(fault, tried)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)


def status_fault(
    status: int, headers: Mapping[str, str], body: bytes, target: str | None = None
) -> ServerError:
    """The fault that a response other than 200 tells; ``target`` is where a redirect points."""
    if target is not None:
        where = f"it redirects to {told(target)}; base_url must be where the server itself is"
        return ServerError(f"HTTP {status}: {where}", status)
    said = error_words(_json(body)) or ""
    words = f"HTTP {status}{': ' if said else ''}{said}{HINTS.get(status, '')}"
    after_s = retry_after_s(headers.get("retry-after"))
    if after_s is not None:
        words += f" (Retry-After: {after_s:g} s)"
    return ServerError(words, status, status in PASSING_STATUSES, after_s)


def transport_fault(error: Exception, connect_timeout_s: float, by: str = "") -> ServerError:
    """The fault behind an error of the connection; ``by`` says which proxy there is."""
    what = told(str(error)) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return ServerError(f"no connection{by} within {connect_timeout_s:g} s", may_pass=True)
    for sign, hint in TLS_HINTS.items():
        if isinstance(error, httpx.ConnectError) and sign in what:
            return ServerError(f"cannot connect{by} ({what}){hint}")
    if isinstance(error, httpx.ConnectError):
        return ServerError(f"cannot connect{by} ({what})", may_pass=True)
    if isinstance(error, httpx.ProxyError):
        return ServerError(f"the proxy refuses to connect{by} ({what})", may_pass=True)
    if not isinstance(error, httpx.HTTPError):
        return ServerError(f"no place to connect to ({what}); look at base_url")
    return ServerError(f"the connection broke ({what})", may_pass=True)


def told_fault(data: str) -> ServerError:
    """The fault that an event of the name ``error`` tells."""
    content = _json(data.encode())
    said = error_words(content) or (content.get("message") if isinstance(content, dict) else None)
    return ServerError(f"the server broke off: {said or told(data)}")


def no_stream_fault(said: str) -> ServerError:
    """The fault of a server that answers with something other than an event stream."""
    content = _parsed(said.encode())
    words = error_words(content)
    if words is not None:
        return ServerError(f"the server broke off: {words}")
    if content is not None:
        return ServerError(f"not an event stream but JSON: {told(said)}")
    page = _PAGE.search(said)
    what = f"a web page, {told(page[1])}" if page else told(said)
    return ServerError(f"not an event stream: {what}{HINTS[404]}")


def broken_off_fault(last: str) -> ServerError:
    """The fault of a stream that ends before its answer; ``last`` is what it said beside it."""
    said = f"; it said: {told(last)}" if last else ""
    return ServerError(f"the stream ended before the answer did{said}", may_pass=True)


def error_words(content: Any) -> str | None:
    """What an error object says; None if ``content`` is none.

    OpenAI says ``{"error": {"message"}}``, FastAPI ``{"detail"}``, older vLLM
    ``{"object": "error", "message"}``.
    """
    if not isinstance(content, Mapping):
        return None
    said = content.get("error") or content.get("detail")
    if said is None and content.get("object") == "error":
        said = content.get("message") or "an error"
    if isinstance(said, Mapping):
        said = said.get("message") or said
    return told(said if isinstance(said, str) else json.dumps(said)) if said else None


def read_object(body: bytes) -> Any:
    """The JSON object in a response.

    Raises:
        ServerError: it is none, or one that tells an error.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise ServerError(f"not a JSON object: {told(_text(body))}") from None
    said = error_words(content)
    if said is not None:
        raise ServerError(f"the server broke off: {said}")
    return content


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _json(body: bytes) -> Any:
    content = _parsed(body)
    return {"detail": _text(body)} if content is None else content


def _parsed(body: bytes) -> Any:
    """None if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")
