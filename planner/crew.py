"""Forecasts by several processes at once: Ray tasks, on this machine or on a cluster.

Each worker fetches the judge once and keeps it. Results come back in the order of the schedules, so
a search finds what it finds alone. A task whose worker dies is done again by Ray.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from planner.book import Alone, Crew, Judge
from planner.plans import Candidate
from planner.workspace import sources_hash
from staircase.errors import EngineError, PlanError
from staircase.schedule import Schedule

if TYPE_CHECKING:
    from ray import ObjectRef

# A schedule on which so many workers die in turn ends the search.
RETRIES = 2
# The least that Ray takes; judges and forecasts are small.
STORE_BYTES = 80 * 2**20
# A cluster that does not answer for so long is not there.
KNOCK_S = 5.0


@dataclass(frozen=True)
class RayCrew:
    """Workers of a Ray cluster that this process is connected to.

    Attributes:
        judge: in the cluster's object store.
        task: ``_forecast``, as Ray calls it.
        code: hash of the sources that the workers must have too.
    """

    judge: ObjectRef[Judge]
    task: Any
    code: str

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        """Raises EngineError when workers die of a schedule, PlanError where one has other sources
        than this process, else what a forecast raises.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        # In a list a reference stays one: the worker fetches it, and keeps what it fetched.
        made = [self.task.remote([self.judge], self.code, schedule) for schedule in schedules]
        for one in made:
            try:
                yield ray.get(one)
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                raise EngineError(f"a worker of the search died: {_first_line(error)}") from None


@contextmanager
def crew_of(judge: Judge, workers: int = 1, address: str | None = None) -> Iterator[Crew]:
    """This process; ``workers`` of this machine; or all of the Ray cluster at ``address``.

    Raises:
        PlanError: Ray is not installed, or there is no cluster at the address.
    """
    if workers == 1 and address is None:
        yield Alone(judge)
        return
    try:
        import ray
    except ImportError:
        raise PlanError('several workers need Ray: pip install "staircase[cluster]"') from None
    _connect(workers, address)
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_forecast)
        yield RayCrew(ray.put(judge), task, sources_hash())
    finally:
        ray.shutdown()


def _connect(workers: int, address: str | None) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address:
            _knock(address)
        ray.init(
            address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            num_cpus=None if address else workers,
            object_store_memory=None if address else STORE_BYTES,
        )
    except (OSError, RuntimeError, ValueError) as error:
        where = f"--ray {address}: no Ray cluster there" if address else "Ray does not start here"
        raise PlanError(f"{where} ({_first_line(error)})") from None


def _knock(address: str) -> None:
    """Raises OSError if nobody listens at HOST:PORT; Ray itself tries for ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), KNOCK_S).close()


def _forecast(judge: Sequence[ObjectRef[Judge]], code: str, schedule: Schedule) -> Candidate:
    """In a worker."""
    return Candidate.of(schedule, _fetched(judge[0], code)(schedule))


@cache
def _fetched(judge: ObjectRef[Judge], code: str) -> Judge:
    import ray

    if sources_hash() != code:
        where = socket.gethostname()
        raise PlanError(f"{where}: another Staircase than here; install the same version there")
    return ray.get(judge)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
