"""Forecasts by several processes at once: Ray tasks, on this machine or on a cluster.

Each worker fetches the judge once and keeps it. Results come back in the order of the schedules, so
a search finds what it finds alone. A task whose worker dies is done again by Ray.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from planner.plan import Candidate
from planner.search import Crew, Judge
from staircase.errors import EngineError, PlanError
from staircase.schedule import Schedule

if TYPE_CHECKING:
    from ray import ObjectRef

# A schedule on which so many workers die in turn ends the search.
RETRIES = 2
# The least that Ray takes; judges and forecasts are small.
STORE_BYTES = 80 * 2**20


@dataclass(frozen=True)
class RayCrew:
    """Workers of a Ray cluster that this process is connected to.

    Attributes:
        judge: in the cluster's object store.
        task: ``_forecast``, as Ray calls it.
    """

    judge: ObjectRef[Judge]
    task: Any

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        """Raises EngineError when workers die of a schedule, else what a forecast raises."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        # In a list a reference stays one: the worker fetches it, and keeps what it fetched.
        made = [self.task.remote([self.judge], schedule) for schedule in schedules]
        for one in made:
            try:
                yield ray.get(one)
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                raise EngineError(f"a worker of the search died: {_first_line(error)}") from None


@contextmanager
def ray_crew(judge: Judge, workers: int | None, address: str | None) -> Iterator[Crew]:
    """``workers`` processes of this machine, or all of the cluster at ``address``.

    Raises:
        PlanError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise PlanError('several workers need Ray: pip install "staircase[cluster]"') from None
    _connect(workers, address)
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_forecast)
        yield RayCrew(ray.put(judge), task)
    finally:
        ray.shutdown()


def _connect(workers: int | None, address: str | None) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = {} if address else {"num_cpus": workers, "object_store_memory": STORE_BYTES}
    try:
        ray.init(
            address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            **own,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"--ray {address}: no Ray cluster there" if address else "Ray does not start here"
        raise PlanError(f"{where} ({_first_line(error)})") from None


def _forecast(judge: Sequence[ObjectRef[Judge]], schedule: Schedule) -> Candidate:
    """In a worker."""
    return Candidate.of(schedule, _fetched(judge[0])(schedule))


@cache
def _fetched(judge: ObjectRef[Judge]) -> Judge:
    import ray

    return ray.get(judge)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
