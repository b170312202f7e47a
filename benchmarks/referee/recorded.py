"""Recorded runs: what an engine was asked, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiles.hardware.hosts import Host
from simulator.core.cost import with_host
from simulator.des.batching import BatchingSetup
from staircase.workload import Workload

Floats = NDArray[np.float64]
# As they are shown, by the names of ``staircase.metrics.request_metrics``.
METRICS = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "ITL", "e2e_s": "E2E"}
STATISTICS = ("mean", "p50", "p90", "p95", "p99")


class Figure(NamedTuple):
    """One of ``STATISTICS`` of one of ``METRICS``."""

    metric: str
    statistic: str

    def of(self, values: Floats) -> float:
        """NaN where there are none."""
        known = values[~np.isnan(values)]
        if not len(known):
            return float("nan")
        if self.statistic == "mean":
            return float(known.mean())
        return float(np.percentile(known, int(self.statistic[1:])))


# Seconds.
Figures = Mapping[Figure, float]


@dataclass(frozen=True)
class Stage:
    """Requests that were asked in one way.

    Attributes:
        workloads: the requests; several draws of them where only their distribution is known.
        told: what was measured, where there are no ``columns``.
        columns: what was measured of each request, by metric; NaN where it has none.
        published: what others forecast of it, by their names.
    """

    name: str
    workloads: Sequence[Workload]
    told: Figures = field(default_factory=dict)
    columns: Mapping[str, Floats] | None = None
    published: Mapping[str, Figures] = field(default_factory=dict)

    def measured(self, rows: slice = slice(None)) -> Figures:
        if self.columns is None:
            return self.told
        wanted = [Figure(name, statistic) for name in self.columns for statistic in STATISTICS]
        return {figure: figure.of(self.columns[figure.metric][rows]) for figure in wanted}


@dataclass(frozen=True)
class Part:
    """Requests of a stage by their order: all, or of one of which single requests are known some.

    Attributes:
        stop: the first that is none of them; None for the end.
    """

    stage: Stage
    name: str
    start: int = 0
    stop: int | None = None

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def is_whole(self) -> bool:
        return self.rows == slice(0, None)

    @property
    def measured(self) -> Figures:
        return self.stage.measured(self.rows)


@dataclass(frozen=True)
class RecordedRun:
    """An engine and what it was asked.

    Attributes:
        engine: with nothing that was fitted.
        unlinked: the same where devices tell each other everything at once; None for one device,
            or where a roofline says what they cost.
        published: errors of means over all stages that others published, by their names and metric.
        remarks: what had to be assumed, or was left out.
    """

    name: str
    engine: BatchingSetup
    stages: Sequence[Stage]
    unlinked: BatchingSetup | None = None
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def with_constant(self, seconds: float) -> BatchingSetup:
        """The engine whose every iteration takes so much longer."""
        return _on(self.engine, Host("fitted", seconds, 0.0, ""))

    def on(self, host: Host) -> RecordedRun:
        """With what ``host`` does besides, which was published."""
        unlinked = self.unlinked and _on(self.unlinked, host)
        return replace(self, engine=_on(self.engine, host), unlinked=unlinked)

    @property
    def parts(self) -> list[Part]:
        is_alone = len(self.stages) == 1
        return [Part(stage, "all" if is_alone else stage.name) for stage in self.stages]

    def thirds(self) -> tuple[list[Part], list[Part]] | None:
        """The first third and the rest, of the stages or of the requests of the only one.

        None where there is but one of them.
        """
        if len(self.stages) > 1:
            first = max(1, len(self.stages) // 3)
            return self.parts[:first], self.parts[first:]
        (stage,) = self.stages
        count = len(stage.workloads[0].requests)
        if stage.columns is None or count < 3:
            return None
        third = count // 3
        return [Part(stage, "the first", stop=third)], [Part(stage, "the others", third)]


def _on(engine: BatchingSetup, host: Host) -> BatchingSetup:
    return replace(engine, cost=with_host(engine.cost, host))
