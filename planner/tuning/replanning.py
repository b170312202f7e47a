"""A served plan stays true: answers that were alone tell how long things take now.

Where they take longer or less than forecast for their lengths, the latency profile is corrected by
them, as ``staircase tune`` does by runs of its own, and a plan is made with it by a process of its
own. Requests that begin after that are answered by the new plan. The corrected profile and the plan
are kept as those of ``tune`` are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from executor.gateway.answering import PlanService
from executor.gateway.served_plan import Point, ServedPlan
from executor.measure.whole_drafts import has_cut_drafts
from executor.runtime import Outcome
from planner.results.plans import Plan
from planner.tuning.correcting import as_measured, corrected, fit_corrections
from planner.tuning.planning_process import PlanningProcess
from planner.tuning.run_log import PlayedRun, fixed_tokens, shapes
from planner.workspace import Workspace
from profiles.latency.profile import LatencyProfile
from profiles.latency.tuning import Correction, Tuning
from profiles.store import stored_hash
from simulator.profile_forecaster import ProfileForecaster
from staircase.errors import InputError
from staircase.metrics.measured import measure_all
from staircase.workload import Workload

log = logging.getLogger("staircase.gateway")

# Answers of which the newest count, and with how many there is something to say.
NEWEST, ENOUGH = 48, 24
# Forecasts that are further off are made again.
TOLERANCE = 0.1
# A correction makes nothing so many times slower or faster.
MOST_TIMES = 2.0
# A call's fixed seconds may grow to this even where none were measured.
MOST_CALL_S = 0.05


@dataclass
class ServedRuns:
    """The newest whole answers that were alone, and what was forecast for their lengths."""

    forecaster: ProfileForecaster
    runs: deque[PlayedRun] = field(default_factory=lambda: deque(maxlen=NEWEST))
    _forecast_s: deque[float] = field(default_factory=lambda: deque(maxlen=NEWEST))
    _count: int = 0

    def add(self, point: Point, outcome: Outcome) -> None:
        """Not of another pipeline, nor where nobody knows how long a draft would have been."""
        pipeline = self.forecaster.pipeline
        if point.pipeline != pipeline or has_cut_drafts(pipeline, outcome):
            return
        lengths, number = fixed_tokens(outcome), self._count
        self._count += 1
        run = PlayedRun(
            1, number, point.name, number, point.schedule, outcome.timeline, lengths, 1.0, None
        )
        played = self.forecaster.play(run.schedule, Workload(shapes(pipeline, [run])))
        self.runs.append(run)
        self._forecast_s.append(float(played.measured.columns["e2e_s"][0]))

    @property
    def drift(self) -> float:
        """Measured over forecast; 1 while there is nothing to say."""
        if len(self.runs) < ENOUGH:
            return 1.0
        measured = measure_all([run.timeline for run in self.runs], self.forecaster.reading_rate)
        return float(measured.columns["e2e_s"].sum()) / sum(self._forecast_s)

    @property
    def is_off(self) -> bool:
        return not 1 / (1 + TOLERANCE) <= self.drift <= 1 + TOLERANCE


# Makes a plan by runs, and the latency profile that it rests on.
MakePlan = Callable[[Sequence[PlayedRun]], tuple[Plan, LatencyProfile]]


@dataclass
class Replanner:
    """Follows the answers of one plan.

    Attributes:
        make_plan: takes long.
        serve: the plan as it is served.
        thread: in which answers are compared, one after the other.
    """

    service: PlanService
    seen: ServedRuns
    make_plan: MakePlan
    serve: Callable[[Plan], ServedPlan]
    thread: Executor

    def hear(self, point: Point, outcome: Outcome) -> None:
        """On the event loop; comes back at once."""
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self.thread, self._follow, point, outcome, loop)

    def _follow(self, point: Point, outcome: Outcome, loop: asyncio.AbstractEventLoop) -> None:
        name, figures = self.service.plan.name, self.service.figures
        self.seen.add(point, outcome)
        figures.drift.labels(name).set(self.seen.drift)
        if not self.seen.is_off:
            return
        log.info("%s: answers take %.2f of their forecast; planning again", name, self.seen.drift)
        try:
            found, latency = self.make_plan(list(self.seen.runs))
            served = self.serve(found)
        except InputError as error:
            log.warning("%s: the plan stays, as there is no other: %s", name, error)
            figures.replans.labels(name, "failed").inc()
            self.seen = ServedRuns(self.seen.forecaster)
            return
        self.seen = ServedRuns(replace(self.seen.forecaster, latency=latency))
        figures.replans.labels(name, "served").inc()
        loop.call_soon_threadsafe(self._change, served)

    def _change(self, served: ServedPlan) -> None:
        self.service.plan = served


def following(
    stack: ExitStack,
    work: Workspace,
    service: PlanService,
    plan_by: Callable[[Workspace, Sequence[PlayedRun]], tuple[Plan, LatencyProfile]],
    serve: Callable[[Plan], ServedPlan],
) -> Replanner:
    """Follows the answers of ``service`` until ``stack`` is closed.

    Args:
        plan_by: is called in a process of its own.
    """
    process, thread = PlanningProcess(), ThreadPoolExecutor(1, "replanning")
    stack.callback(lambda: thread.shutdown(cancel_futures=True))
    stack.callback(process.close)
    replanner = Replanner(
        service,
        ServedRuns(work.profile_forecaster()),
        lambda runs: process.call(plan_by, work, runs),
        serve,
        thread,
    )
    service.on_alone = replanner.hear
    return replanner


def corrected_latency(work: Workspace, runs: Sequence[PlayedRun]) -> LatencyProfile:
    """The measured profile as ``runs`` correct it, within bounds.

    Raises:
        InputError: there is no such profile.
    """
    forecaster = work.measured_forecaster()
    known = as_measured(forecaster.latency)
    found = within_bounds(fit_corrections(forecaster, runs), known)
    tuning = Tuning(stored_hash(work.latency_path), found, 1.0, (), ())
    return replace(corrected(forecaster.latency, found), tuning=tuning)


def within_bounds(
    found: Mapping[str, Correction], known: Mapping[str, Correction]
) -> dict[str, Correction]:
    """Nothing ``MOST_TIMES`` slower or faster than ``known``."""

    def near(value: float, usual: float) -> float:
        return min(max(value, usual / MOST_TIMES), MOST_TIMES * usual)

    return {
        name: Correction(
            near(one.prefill, known[name].prefill),
            near(one.decode, known[name].decode),
            max(1.0, near(one.contention, known[name].contention)),
            min(one.call_s, max(MOST_TIMES * known[name].call_s, MOST_CALL_S)),
        )
        for name, one in found.items()
    }
