"""Plays jobs and keeps each outcome as soon as it is there, so that a run can go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from executor.line_log import ItemLog
from executor.runtime import Job, Outcome, Runtime
from staircase.errors import EngineError
from staircase.timeline import to_s

T = TypeVar("T")
# Scoring needs no more memory for a second request at once, and a second core is mostly there.
MEASURING_THREADS = min(4, os.cpu_count() or 1)


def play_kept(
    runtime: Runtime,
    jobs: Sequence[Job],
    kept: ItemLog[Outcome] | None,
    on_done: Callable[[], None] = lambda: None,
    *,
    first: int = 0,
    concurrency: int = 1,
    arrivals_s: Sequence[float] | None = None,
    must_answer: bool = True,
) -> list[Outcome]:
    """Outcomes of ``jobs``; those that ``kept`` has are not played, failed ones are not kept.

    Args:
        kept: None to keep none.
        on_done: called for every job, also for those that were kept.
        first: number of the first of ``jobs`` among those that ``kept`` is about.
        must_answer: a request that fails ends it all.

    Raises:
        EngineError: a request failed.
    """
    names = map(str, range(first, first + len(jobs)))
    found = {} if kept is None else known_items(kept, names)
    skipped = set(found)
    for _ in skipped:
        on_done()

    def take(outcome: Outcome) -> None:
        if must_answer:
            check_answered(outcome)
        if kept is not None and not outcome.timeline.error:
            kept.add(str(first + outcome.timeline.request), outcome)
        found[outcome.timeline.request] = outcome
        on_done()

    runtime.run(
        jobs,
        concurrency,
        take,
        arrivals_s=arrivals_s,
        skipped=skipped,
        passed_s=_passed_s(found, arrivals_s),
    )
    return [found[place] for place in sorted(found)]


def play_measured(
    runtime: Runtime,
    jobs: Sequence[Job],
    names: Sequence[str],
    kept: ItemLog[T],
    measure: Callable[[Outcome], T],
    on_done: Callable[[], None] = lambda: None,
    *,
    concurrency: int = 1,
) -> list[T]:
    """What ``measure`` makes of ``jobs``; it is called in threads, while others are played.

    Args:
        names: of what is kept, by job; a job that ``kept`` has is not played again.
        on_done: called for every job, also for those that were kept, in any thread.

    Raises:
        EngineError: a request failed.
        Exception: what ``measure`` or ``on_done`` raised.
    """
    found = known_items(kept, names)
    pending: dict[int, Future[T]] = {}
    for _ in found:
        on_done()

    def measured(outcome: Outcome) -> T:
        item = measure(outcome)
        kept.add(names[outcome.timeline.request], item)
        on_done()
        return item

    def take(outcome: Outcome) -> None:
        check_answered(outcome)
        _raise_failures(pending.values())
        pending[outcome.timeline.request] = pool.submit(measured, outcome)

    with _threads() as pool:
        runtime.run(jobs, concurrency, take, skipped=set(found))
        found |= {place: future.result() for place, future in pending.items()}
    return [found[place] for place in sorted(found)]


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads; after an interrupt they finish only what they have begun."""
    pool = ThreadPoolExecutor(MEASURING_THREADS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _raise_failures(pending: Iterable[Future[T]]) -> None:
    for future in pending:
        if future.done():
            future.result()


def known_items(kept: ItemLog[T], names: Iterable[str]) -> dict[int, T]:
    """By place among ``names``."""
    found = enumerate(map(kept.get, names))
    return {place: item for place, item in found if item is not None}


def _passed_s(known: Mapping[int, Outcome], arrivals_s: Sequence[float] | None) -> float:
    """Of a run of which some outcomes are ``known``, until the first other job arrives."""
    if not known:
        return 0.0
    if arrivals_s:
        return min((s for place, s in enumerate(arrivals_s) if place not in known), default=0.0)
    return max(to_s(outcome.timeline.completed_ps) for outcome in known.values())


def check_answered(outcome: Outcome) -> None:
    """Raises EngineError if there is no complete answer."""
    if outcome.timeline.error:
        raise EngineError(f"a request failed: {outcome.timeline.error}")
