"""Plays schedules on real engines.

Events are handled in the thread of the engine that reports them, one at a time under one lock, so a
command reaches the engine before its next iteration. The caller's thread only waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import count

from executor.nonces import Nonces
from executor.request_run import (
    Clock,
    Faults,
    Job,
    OnToken,
    Outcome,
    RequestRun,
    ServedModel,
    fixed_ids_of,
)

__all__ = ["Job", "OnToken", "Outcome", "RequestRun", "Runtime", "ServedModel"]

ABANDON_S = 30.0


class Runtime:
    """Runs jobs on engines, ``concurrency`` at a time.

    Attributes:
        served: by engine name.
        now_ns: the clock of the engines.
        retries: how often a failed call is started again, where its schedule does not say more.
    """

    def __init__(
        self,
        served: Mapping[str, ServedModel],
        now_ns: Clock = time.perf_counter_ns,
        retries: int = 0,
    ) -> None:
        self.served = served
        self.retries = retries
        self.now_ns = now_ns
        self._nonces = Nonces()
        self._started = count()
        self._changed = threading.Condition(threading.RLock())

    def serving(self, served: Mapping[str, ServedModel]) -> Runtime:
        """The same with other engines; some may be the same, so no calls have the same keys."""
        other = Runtime(served, self.now_ns, self.retries)
        other._nonces, other._started = self._nonces, self._started
        return other

    def start(
        self,
        job: Job,
        on_token: OnToken,
        on_over: Callable[[Outcome], None],
        on_fault: Callable[[Exception], None],
    ) -> RequestRun:
        """Begins a job and returns; not while jobs ``run``, whose calls have the same keys.

        Args:
            on_token: called in the thread of the engine that wrote.
            on_over: called once, when the answer is there and nothing of the job runs any more.
            on_fault: hears what ``on_token`` or ``on_over`` raised.
        """
        run = RequestRun(
            next(self._started),
            self._retrying(job),
            self.served,
            fixed_ids_of(job, self.served, self._nonces.draw()),
            Faults(self._changed, on_fault),
            self.now_ns,
            self.now_ns(),
            on_token,
            lambda: on_over(run.outcome()),
        )
        run.begin(0.0)
        return run

    def run(
        self,
        jobs: Sequence[Job],
        concurrency: int = 1,
        on_done: Callable[[Outcome], None] = lambda outcome: None,
        *,
        arrivals_s: Sequence[float] | None = None,
        skipped: Collection[int] = (),
        passed_s: float = 0.0,
        on_token: OnToken = lambda job, agent, ids: None,
    ) -> list[Outcome]:
        """Plays jobs and returns their outcomes in the order of ``jobs``.

        Args:
            arrivals_s: when each job arrives, rising; what it waits for one of the ``concurrency``
                places counts as its time. None: a job arrives when there is a place.
            skipped: places of jobs that are not played, as they were before the run was cut off.
            passed_s: of the run before it was cut off.
            on_token: called in the thread of the engine that wrote, so it should be quick.

        Raises:
            Exception: whatever ``on_token`` or ``on_done`` raised; what still ran is cancelled.
        """
        jobs = [self._retrying(job) for job in jobs]
        left = [number for number in range(len(jobs)) if number not in skipped]
        arrivals = deque(arrivals_s[number] for number in left) if arrivals_s else deque[float]()
        epoch_ns, faults = self.now_ns() - round(passed_s * 1e9), Faults(self._changed)
        waiting = deque(
            RequestRun(
                number,
                jobs[number],
                self.served,
                fixed_ids_of(jobs[number], self.served, self._nonces.draw()),
                faults,
                self.now_ns,
                epoch_ns,
                on_token,
            )
            for number in left
        )
        live: list[RequestRun] = []
        done: dict[int, Outcome] = {}
        try:
            while waiting or live:
                while waiting and len(live) < concurrency and self._until(arrivals, epoch_ns) <= 0:
                    live.append(waiting.popleft())
                    live[-1].begin(arrivals.popleft() if arrivals else None)
                is_full = not waiting or len(live) == concurrency
                for run in self._wait_for_any(
                    live, faults, None if is_full else self._until(arrivals, epoch_ns)
                ):
                    live.remove(run)
                    done[run.play.number] = run.outcome()
                    on_done(done[run.play.number])
        finally:
            self._abandon(live)
        return [done[number] for number in sorted(done)]

    def _retrying(self, job: Job) -> Job:
        retries = max(job.schedule.retries, self.retries)
        return replace(job, schedule=replace(job.schedule, retries=retries))

    def _until(self, arrivals: deque[float], epoch_ns: int) -> float:
        """Seconds until the next arrival; 0 without arrivals."""
        return arrivals[0] - (self.now_ns() - epoch_ns) / 1e9 if arrivals else 0.0

    def _wait_for_any(
        self, live: list[RequestRun], faults: Faults, timeout_s: float | None
    ) -> list[RequestRun]:
        """Those that are over; none if ``timeout_s`` passes before. Raises the first fault."""
        with self._changed:
            self._changed.wait_for(
                lambda: faults.found or any(run.play.is_over for run in live), timeout_s
            )
            if faults.found:
                raise faults.found[0]
            return [run for run in live if run.play.is_over]

    def _abandon(self, live: list[RequestRun]) -> None:
        """After an interrupt: cancels what still runs, and waits until nothing does."""
        with self._changed:
            for run in live:
                run.cancel_all()
            self._changed.wait_for(
                lambda: not any(run.is_served for run in live), timeout=ABANDON_S
            )
