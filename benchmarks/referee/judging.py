"""Forecasts of recorded runs beside what was measured, and the one constant that is fitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from benchmarks.referee.recorded import METRICS, Figure, Floats, Part, RecordedRun, Stage
from planner.evaluation.compare import mape
from simulator.des.batching import BatchingSetup
from simulator.run import run_workload
from staircase import Schedule, Workload, single

# The first of these that was measured is what the constant is fitted to.
TARGETS = [Figure(name, "mean") for name in ("tpot_s", "itl_s", "e2e_s", "ttft_s")]
# No engine's host takes longer for an iteration.
MOST_S = 0.1


@dataclass(frozen=True)
class Row:
    """A figure of a part of a run.

    Attributes:
        by_request: mean absolute error over single requests; NaN where it is not known.
        published: what others forecast, by their names.
    """

    part: str
    figure: Figure
    measured_s: float
    forecast_s: float
    by_request: float
    published: Mapping[str, float]

    @property
    def error(self) -> float:
        return self.forecast_s / self.measured_s - 1


@dataclass(frozen=True)
class Judgement:
    """All figures under one assumption, which ``said`` names.

    Attributes:
        constant_s: that was added to each iteration; None where nothing was fitted.
        is_aside: whether it only tells where the others come from.
    """

    said: str
    rows: Sequence[Row]
    constant_s: float | None = None
    is_aside: bool = False

    @property
    def errors(self) -> dict[str, float]:
        """By metric as ``mean_errors``."""
        return mean_errors((row.figure, row.error) for row in self.rows)

    @property
    def parts(self) -> int:
        return len({row.part for row in self.rows})


def mean_errors(errors: Iterable[tuple[Figure, float]]) -> dict[str, float]:
    """Errors of means by metric: of several stages the mean of their absolute values."""
    found: dict[str, list[float]] = {}
    for figure, error in errors:
        if figure.statistic == "mean":
            found.setdefault(figure.metric, []).append(error)
    return {
        metric: float(np.mean(np.abs(some))) if len(some) > 1 else some[0]
        for metric, some in sorted(found.items(), key=lambda item: list(METRICS).index(item[0]))
    }


def judge(run: RecordedRun) -> list[Judgement]:
    """With nothing fitted; without links, where there are some; with a constant that is fitted to
    all, and with one that is fitted to the first third and judged on the rest.

    Raises:
        WorkloadError: the engine has no room for a request.
    """
    found = [Judgement("nothing fitted", judged(run.engine, run.parts))]
    if run.unlinked is not None:
        rows = judged(run.unlinked, run.parts)
        found.append(Judgement("nothing fitted, links for free", rows, is_aside=True))
    found += _with_constant(run, "all", run.parts, run.parts, is_aside=True)
    thirds = run.thirds()
    return [*found, *(_with_constant(run, "the first third", *thirds) if thirds else ())]


def _with_constant(
    run: RecordedRun,
    name: str,
    fitted: Sequence[Part],
    others: Sequence[Part],
    *,
    is_aside: bool = False,
) -> Iterator[Judgement]:
    """None where no mean was measured to which it could be fitted, or no constant is enough."""
    target = fit_target(fitted)
    constant_s = None if target is None else fit_constant(run, fitted, target)
    if constant_s is not None:
        said = f"{constant_s * 1e3:.2f} ms an iteration, by {name}"
        rows = judged(run.with_constant(constant_s), others)
        yield Judgement(said, rows, constant_s, is_aside)


def judged(engine: BatchingSetup, parts: Sequence[Part]) -> list[Row]:
    """Every figure that was measured of ``parts``."""
    played = {id(part.stage): play(engine, part.stage) for part in parts}
    return [row for part in parts for row in _rows(part, played[id(part.stage)])]


def _rows(part: Part, forecast: Mapping[str, Floats]) -> list[Row]:
    found = []
    for figure, measured_s in part.measured.items():
        others = part.stage.published.items() if part.is_whole else ()
        found.append(
            Row(
                part.name,
                figure,
                measured_s,
                figure.of(forecast[figure.metric][part.rows]),
                _by_request(part, figure, forecast),
                {name: figures[figure] for name, figures in others if figure in figures},
            )
        )
    return found


def _by_request(part: Part, figure: Figure, forecast: Mapping[str, Floats]) -> float:
    if part.stage.columns is None or figure.statistic != "mean":
        return float("nan")
    real = part.stage.columns[figure.metric][part.rows]
    simulated = forecast[figure.metric][part.rows]
    both = ~(np.isnan(real) | np.isnan(simulated))
    return mape(simulated[both], real[both])


def fit_target(parts: Sequence[Part]) -> Figure | None:
    known = [part.measured for part in parts]
    return next((figure for figure in TARGETS if all(figure in one for one in known)), None)


def fit_constant(run: RecordedRun, parts: Sequence[Part], target: Figure) -> float | None:
    """Seconds an iteration that make ``target`` right, on average over ``parts``.

    Not below 0, where the forecast is too slow without any; None if it is too fast with ``MOST_S``.
    """

    def miss(constant_s: float) -> float:
        rows = judged(run.with_constant(constant_s), parts)
        return float(np.mean([row.error for row in rows if row.figure == target]))

    if miss(0.0) >= 0:
        return 0.0
    if miss(MOST_S) < 0:
        return None
    return float(brentq(miss, 0.0, MOST_S, xtol=1e-6))


def play(engine: BatchingSetup, stage: Stage) -> dict[str, Floats]:
    """By metric, of each request of every draw of ``stage`` in their order; of ``itl_s`` of each
    gap.

    Raises:
        WorkloadError: the engine has no room for a request.
    """
    played = [_play(engine, workload) for workload in stage.workloads]
    return {name: np.concatenate([one[name] for one in played]) for name in METRICS}


def _play(engine: BatchingSetup, workload: Workload) -> dict[str, Floats]:
    pipeline = single()
    longest = max(shape.output_tokens["model"] for shape in workload.requests)
    agents = tuple(replace(agent, max_tokens=max(1, longest)) for agent in pipeline)
    pipeline = replace(pipeline, agents=agents)
    seen = run_workload(pipeline, Schedule(), {"model": engine}, workload).measured
    columns = {name: seen.columns[name] for name in METRICS if name != "itl_s"}
    return {**columns, "itl_s": np.concatenate(seen.gaps_s)}
