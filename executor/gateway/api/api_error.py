"""Errors in the shape of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """What a client is told instead of an answer.

    Args:
        status: of HTTP.
        code: for programs.
        param: the field that is wrong.
        headers: that go with it, as Retry-After.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        error = {
            "message": self.message,
            "type": TYPES.get(self.status, "server_error"),
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}


def refusal(param: str, why: str, code: str = "unsupported_value") -> ApiError:
    """A field has a value that cannot be honoured."""
    return ApiError(400, code, f"{param}: {why}", param)
