"""Keys of clients, and who a request is from."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from executor.gateway.api.api_error import ApiError

NOBODY = ""
SCHEME = "bearer"


@dataclass(frozen=True)
class Key:
    """A client's.

    Attributes:
        concurrency: requests that it may have at a time, waiting ones among them; None: any.
    """

    secret: str
    concurrency: int | None = None


class Keys:
    """Those that are known, by the client's name; without any, everybody may ask."""

    def __init__(self, known: Mapping[str, Key] | None = None) -> None:
        self._known = dict(known or {})
        self._asking = Counter[str]()

    def name(self, authorization: str | None) -> str:
        """Whose key the header has.

        Raises:
            ApiError: it has none that is known.
        """
        if not self._known:
            return NOBODY
        scheme, _, given = (authorization or "").partition(" ")
        secret = given.strip().encode() if scheme.lower() == SCHEME else b""
        # All are compared, so that the time taken tells nothing.
        found = [
            name
            for name, key in self._known.items()
            if hmac.compare_digest(key.secret.encode(), secret)
        ]
        if not found:
            raise ApiError(401, "invalid_api_key", "no known key: send 'Authorization: Bearer KEY'")
        return found[0]

    @contextmanager
    def asking(self, name: str) -> Iterator[None]:
        """While a request of ``name`` is answered.

        Raises:
            ApiError: it has as many as it may.
        """
        key = self._known.get(name)
        limit = key.concurrency if key else None
        if limit is not None and self._asking[name] >= limit:
            words = f"{limit} requests of this key are being answered, its limit"
            raise ApiError(429, "key_limit", words, headers={"Retry-After": "1"})
        self._asking[name] += 1
        try:
            yield
        finally:
            self._asking[name] -= 1
