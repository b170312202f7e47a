"""Forecasts and sketches by several processes at once: Ray tasks, here or on a cluster.

Each worker fetches the forecaster and the sketch once and keeps them. Results come back in the
order of the schedules, so a search finds what it finds alone. Ray gives the task of a
worker that dies to another.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from planner.results.plans import Candidate
from planner.search.cached_forecasts import Backend, LocalBackend
from planner.workspace import sources_hash
from simulator.analytic.sketch import Sketch
from simulator.forecaster import ScheduleForecaster
from staircase.errors import EngineError, PlanError
from staircase.metrics.request_metrics import Floats
from staircase.schedule import Schedule, Staircase

if TYPE_CHECKING:
    from ray import ObjectRef

# A schedule on which so many workers die in turn ends the search.
RETRIES = 2
# The least that Ray takes; forecasters and forecasts are small.
STORE_BYTES = 80 * 2**20
# A cluster that does not answer for so long is not there.
KNOCK_S = 5.0
# Fewer schedules are sketched sooner than sent.
LEAST_SKETCHED = 500
# Tokens of a text, to tell long schedules from short ones.
TYPICAL = 500
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class RayBackend:
    """Workers of a Ray cluster that this process is connected to.

    Attributes:
        forecaster: in the cluster's object store.
        code: hash of the sources that the workers must have too.
        workers: cores of the cluster.
    """

    forecaster: ObjectRef[ScheduleForecaster]
    code: str
    workers: int

    def forecasting_by(self, forecaster: ScheduleForecaster) -> RayBackend:
        import ray

        return replace(self, forecaster=ray.put(forecaster))

    def sharing(self, sketch: Sketch) -> SharedSketch:
        import ray

        return SharedSketch(ray.put(sketch), self.code, self.workers)

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        """Raises EngineError when workers die of a schedule, PlanError where one has other sources
        than this process, else what a forecast raises.
        """
        efforts = [effort(schedule) for schedule in schedules]
        yield from _in_order(_forecast, self.forecaster, self.code, schedules, efforts)


@dataclass(frozen=True)
class SharedSketch:
    """A sketch that all workers draw together; attributes as of ``RayBackend``."""

    sketch: ObjectRef[Sketch]
    code: str
    workers: int

    def of(self, schedules: Sequence[Schedule]) -> dict[str, Floats]:
        """Raises what ``RayBackend.forecast`` raises."""
        # Every worker gets some of each layout, long ones and short ones.
        shares = min(self.workers, -(-len(schedules) // LEAST_SKETCHED))
        parts = [schedules[first::shares] for first in range(shares)]
        drawn = list(_in_order(_sketched, self.sketch, self.code, parts, [0] * shares))
        found = {name: np.empty(len(schedules)) for name in drawn[0]}
        for first, figures in enumerate(drawn):
            for name, column in figures.items():
                found[name][first::shares] = column
        return found


def _in_order(
    function: Callable[[Sequence[ObjectRef[S]], str, T], R],
    shared: ObjectRef[S],
    code: str,
    tasks: Sequence[T],
    efforts: Sequence[int],
) -> Iterator[R]:
    """Results in the order of ``tasks``. Those that take longest begin first, so that no worker is
    left alone with a long one at the end."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    task = _as_task(function)
    # In a list a reference stays one: the worker fetches it, and keeps what it fetched.
    order = sorted(range(len(tasks)), key=lambda number: -efforts[number])
    made = {number: task.remote([shared], code, tasks[number]) for number in order}
    for number in range(len(tasks)):
        try:
            yield ray.get(made[number])
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise EngineError(f"a worker of the search died: {_first_line(error)}") from None


def effort(schedule: Schedule) -> int:
    """Roughly how many calls a request takes, and so how long its forecast: steps of staircases."""
    return sum(_steps(staircase) for staircase in schedule.staircases.values())


def _steps(staircase: Staircase) -> int:
    """Until ``TYPICAL`` tokens are read, or written."""
    written = 0
    for number in count():
        step = staircase.step(number)
        written += step.write or TYPICAL
        if step.read is None or max(step.read, written) >= TYPICAL:
            return number + 1
    raise AssertionError("a staircase that never ends")


@contextmanager
def backend_of(
    forecaster: ScheduleForecaster, workers: int = 1, address: str | None = None
) -> Iterator[Backend]:
    """This process; ``workers`` of this machine; or all of the Ray cluster at ``address``.

    Raises:
        PlanError: Ray is not installed, or there is no cluster at the address.
    """
    if workers == 1 and address is None:
        yield LocalBackend(forecaster)
        return
    try:
        import ray
    except ImportError:
        raise PlanError('several workers need Ray: pip install "staircase[cluster]"') from None
    _connect(workers, address)
    try:
        yield RayBackend(ray.put(forecaster), sources_hash(), _cores())
    finally:
        ray.shutdown()


def _cores() -> int:
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))


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
        hint = "; one that wants a token needs RAY_AUTH_MODE=token" if address else ""
        raise PlanError(f"{where} ({_first_line(error)}{hint})") from None


def _knock(address: str) -> None:
    """Raises OSError if nobody listens at HOST:PORT; Ray itself tries for ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), KNOCK_S).close()


@cache
def _as_task(function: Callable[..., R]) -> Any:
    import ray

    return ray.remote(num_cpus=1, max_retries=RETRIES)(function)


# In a worker.


def _forecast(
    forecaster: Sequence[ObjectRef[ScheduleForecaster]], code: str, schedule: Schedule
) -> Candidate:
    return Candidate.of(schedule, _fetched(forecaster[0], code)(schedule))


def _sketched(
    sketch: Sequence[ObjectRef[Sketch]], code: str, schedules: Sequence[Schedule]
) -> dict[str, Floats]:
    found: dict[str, Floats] = _fetched(sketch[0], code).of(schedules)
    return found


@cache
def _fetched(shared: ObjectRef[S], code: str) -> S:
    import ray

    if sources_hash() != code:
        where = socket.gethostname()
        raise PlanError(f"{where}: another Staircase than here; install the same version there")
    return ray.get(shared)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
