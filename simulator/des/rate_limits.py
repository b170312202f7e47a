"""How much a provider lets through: requests and tokens a minute, as token buckets.

A bucket holds one minute's worth, is full at first and refills without a break, as in OpenAI's own
client script (openai-cookbook, ``examples/api_request_parallel_processor.py``). A call takes its
prompt and all it may write, whatever it writes in the end: Azure OpenAI counts the prompt and
``max_tokens`` when a request comes in (Microsoft Learn, "Manage Azure OpenAI quota").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from staircase.messages import Call
from staircase.timeline import PS_PER_S

MINUTE_PS = 60 * PS_PER_S


@dataclass
class Bucket:
    """Refills by ``per_min`` a minute; what is missing counts in 1 / MINUTE_PS, to be exact."""

    per_min: int
    _missing: int = 0
    _seen_ps: int = 0

    def wait_ps(self, amount: int, now_ps: int) -> int:
        """Until ``amount`` is there, if nobody else takes any."""
        over = self._missing_at(now_ps) + (amount - self.per_min) * MINUTE_PS
        return max(0, -(-over // self.per_min))

    def take(self, amount: int, now_ps: int) -> None:
        self._missing = self._missing_at(now_ps) + amount * MINUTE_PS
        self._seen_ps = now_ps

    def _missing_at(self, now_ps: int) -> int:
        return max(0, self._missing - self.per_min * (now_ps - self._seen_ps))


class RateLimits:
    """The buckets of one endpoint; None for no limit."""

    def __init__(self, requests_per_min: int | None, tokens_per_min: int | None) -> None:
        self._requests = Bucket(requests_per_min) if requests_per_min else None
        self._tokens = Bucket(tokens_per_min) if tokens_per_min else None

    def wait_ps(self, call: Call, now_ps: int) -> int:
        """Until the call may start."""
        waits = [bucket.wait_ps(amount, now_ps) for bucket, amount in self._amounts(call)]
        return max(waits, default=0)

    def take(self, call: Call, now_ps: int) -> None:
        for bucket, amount in self._amounts(call):
            bucket.take(amount, now_ps)

    def _amounts(self, call: Call) -> Iterator[tuple[Bucket, int]]:
        if self._requests:
            yield self._requests, 1
        if self._tokens:
            yield self._tokens, counted_tokens(call)


def counted_tokens(call: Call) -> int:
    """Tokens that a provider counts for a call when it comes in."""
    return call.prompt.tokens + call.max_tokens
