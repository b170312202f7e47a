"""Admission: so many requests at a time, a queue that is fair among keys, and no more."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from executor.gateway.api.api_error import ApiError

# Weight of the newest service time in their moving mean.
NEWEST = 0.2


class Admission:
    """Of the requests of one plan; used on one event loop.

    A place that becomes free goes to the keys that wait in turn, whatever each has waiting.
    """

    def __init__(self, concurrency: int, queue: int) -> None:
        self._concurrency = concurrency
        self._queue = queue
        self._turns: OrderedDict[str, deque[asyncio.Future[float]]] = OrderedDict()
        self._service_s: float | None = None
        self.active = 0

    @property
    def waiting(self) -> int:
        return sum(not turn.done() for turns in self._turns.values() for turn in turns)

    @asynccontextmanager
    async def admitted(self, key: str, timeout_s: float | None = None) -> AsyncIterator[float]:
        """Waits for a place for ``key``; gives how much of the queue was taken then, 0 to 1.

        Raises:
            ApiError: the queue is full, or ``timeout_s`` passed.
        """
        try:
            async with asyncio.timeout(timeout_s):
                pressure = await self._take(key)
        except TimeoutError:
            words = "the deadline passed while the request waited"
            raise ApiError(504, "deadline_exceeded", words) from None
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield pressure
        finally:
            self._learn(loop.time() - began)
            self._give_up()

    async def _take(self, key: str) -> float:
        if self.active < self._concurrency and not self.waiting:
            self.active += 1
            return 0.0
        if self.waiting >= self._queue:
            raise self._full()
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._turns.setdefault(key, deque()).append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            # Who leaves may have been given a place just now.
            if not turn.cancelled():
                self._give_up()
            raise

    def _full(self) -> ApiError:
        rounds = (self.waiting + 1) / self._concurrency
        after_s = max(1, math.ceil(rounds * (self._service_s or 0.0)))
        return ApiError(
            429,
            "overloaded",
            f"{self.active} requests are played and {self.waiting} wait; try again later",
            headers={"Retry-After": str(after_s)},
        )

    def _give_up(self) -> None:
        """To whoever's turn it is, of those that have not left."""
        self.active -= 1
        while self._turns:
            pressure = self.waiting / self._queue
            key, turns = self._turns.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._turns[key] = turns
            if not turn.done():
                self.active += 1
                turn.set_result(pressure)
                return

    def _learn(self, seconds: float) -> None:
        before = seconds if self._service_s is None else self._service_s
        self._service_s = before + NEWEST * (seconds - before)
