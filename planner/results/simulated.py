"""A simulated schedule, as ``planner.simulate`` gives it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from planner.extras import extras
from planner.figures.json_pointers import Figures
from planner.figures.metric_table import METRICS
from planner.figures.number_format import number
from planner.results.breakdown import median_request
from planner.results.shown import Row, Shown
from simulator.forecast import Forecast
from staircase.metrics.request_metrics import Summary
from staircase.timeline import Timeline, since_arrival


@dataclass(frozen=True)
class Simulated(Forecast, Shown):
    """A forecast that shows itself."""

    @staticmethod
    def of(forecast: Forecast) -> Simulated:
        return Simulated(**vars(forecast))

    @property
    def summaries(self) -> dict[str, Summary]:
        """By metric, with those of quality where it is known."""
        known = (
            {"loss": self.quality.loss, "agreement": self.quality.agreement} if self.quality else {}
        )
        return {**self.metrics, **known}

    def table_rows(self) -> list[Row]:
        """One of each metric."""
        return [{"metric": name, **asdict(one)} for name, one in self.summaries.items()]

    def shown_rows(self) -> list[Row]:
        return [
            {
                "": METRICS[name].row_head,
                **{key: number(value * METRICS[name].factor) for key, value in asdict(one).items()},
            }
            for name, one in self.summaries.items()
            if name in METRICS
        ]

    def figure(self) -> Any:
        """The request with the median TTFT: its calls, and the answer's tokens."""
        with extras():
            from planner.charts.notebook import request_figure
        line = since_arrival(self.timelines[median_request(self.timelines)])
        content = TypeAdapter(Timeline).dump_python(line, mode="json")
        return request_figure(Figures({"request": content}))
