"""What is measured of answers and told to Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from executor.gateway.served_plan import Point
from executor.runtime import Outcome
from staircase.metrics.shortfalls import shortfalls_of
from staircase.timeline import Timeline, to_s

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 20, 40, 80, 160)
GAPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5)
# An answer may begin, and even end, before its input does.
AFTER_INPUT = (-20, -10, -5, -3, -2, -1, -0.5, -0.2, 0, *SECONDS)
RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.35, 1.5, 2, 3, 5, 10)
OF_ANSWERS = ("plan", "schedule")
# Figures that are compared with their forecasts.
OF_TEXTS = ("ttft", "smooth_start", "e2e")
OF_INPUTS = ("start_after_input", "last_after_input")


@dataclass
class AnswerTimes:
    """When a request came and its pieces were there, in seconds of one clock.

    Attributes:
        input_s: when the last words of its live inputs came; None if it has none.
    """

    arrival_s: float
    token_s: list[float] = field(default_factory=list)
    input_s: float | None = None

    @property
    def ttft_s(self) -> float:
        return self.token_s[0] - self.arrival_s

    def smooth_start_s(self, rate_per_s: float) -> float:
        """The earliest start from which somebody who reads so many tokens a second never waits."""
        waits = (at - number / rate_per_s for number, at in enumerate(self.token_s))
        return max(waits) - self.arrival_s

    def figures(self, rate_per_s: float) -> dict[str, float]:
        """By name, in seconds, of a request with at least one token."""
        ttft_s, smooth_s = self.ttft_s, self.smooth_start_s(rate_per_s)
        found = {"ttft": ttft_s, "smooth_start": smooth_s, "stall": smooth_s - ttft_s}
        found["last_token"] = self.token_s[-1] - self.arrival_s
        if self.input_s is not None:
            named = {"ttft": "ttft", "start": "smooth_start", "last": "last_token"}
            said_s = self.input_s - self.arrival_s
            found |= {f"{name}_after_input": found[n] - said_s for name, n in named.items()}
        return found

    @property
    def gaps_s(self) -> Sequence[float]:
        pairs = zip(self.token_s, self.token_s[1:], strict=False)
        return [later - before for before, later in pairs]


class GatewayMetrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        times = {
            "ttft": "From a request to the first token of its answer.",
            "smooth_start": "Earliest start from which the plan's reader never waits.",
            "stall": "Smooth start less time to first token.",
            "last_token": "From a request to the last token of its answer.",
        }
        self._times = {
            name: self._histogram(f"{name}_seconds", words, OF_ANSWERS, SECONDS)
            for name, words in times.items()
        }
        after = {
            "ttft_after_input": "From the last words of live inputs to the first token.",
            "start_after_input": "From there to the smooth start.",
            "last_after_input": "From there to the last token.",
        }
        self._times |= {
            name: self._histogram(f"{name}_seconds", words, OF_ANSWERS, AFTER_INPUT)
            for name, words in after.items()
        }
        self._gaps = self._histogram(
            "inter_token_latency_seconds", "Between tokens of an answer.", OF_ANSWERS, GAPS
        )
        self._ratios = self._histogram(
            "measured_over_forecast_ratio",
            "A request's figure over the plan's forecast of its mean.",
            (*OF_ANSWERS, "figure"),
            RATIOS,
        )
        self.drift = Gauge(
            "staircase_drift_ratio",
            "Seconds of whole answers that were alone over those forecast for their lengths.",
            ("plan",),
            registry=self._registry,
        )
        self._agents = self._histogram(
            "agent_seconds",
            "From the begin of a request to the end of an agent's text.",
            ("plan", "agent"),
            SECONDS,
        )
        self.requests = self._counter(
            "requests", "Requests by how they ended.", (*OF_ANSWERS, "ended")
        )
        self.refused = self._counter("refused", "Requests that were not played.", ("code",))
        self.gated = self._counter("gated", "Requests that a gate sent to one model.", ("plan",))
        self.replans = self._counter(
            "replans", "Plans that were made while serving.", ("plan", "ended")
        )
        self._prompt = self._counter(
            "prompt_tokens", "Of all calls of an agent.", ("plan", "agent", "cached")
        )
        self._made = self._counter("completion_tokens", "That an agent wrote.", ("plan", "agent"))
        self._lacking = self._counter(
            "left_out_drafts",
            "Answers that lack an agent's text, or part of it.",
            ("plan", "agent", "why"),
        )
        self.active = Gauge(
            "staircase_active", "Requests that are played.", ("plan",), registry=self._registry
        )
        self.waiting = Gauge(
            "staircase_waiting", "Requests that wait.", ("plan",), registry=self._registry
        )

    def text(self) -> bytes:
        """In Prometheus's format."""
        return generate_latest(self._registry)

    def note_times(self, plan: str, point: Point, moments: AnswerTimes, rate_per_s: float) -> None:
        """Of an answer with at least one token."""
        found = moments.figures(rate_per_s)
        for name, seconds in found.items():
            self._times[name].labels(plan, point.name).observe(seconds)
        for gap_s in moments.gaps_s:
            self._gaps.labels(plan, point.name).observe(gap_s)
        self._note_ratios(plan, point, found | {"e2e": found["last_token"]})

    def _note_ratios(self, plan: str, point: Point, found: Mapping[str, float]) -> None:
        """Forecasts of plans with inputs rest on their clock: what follows their end compares."""
        for figure in OF_INPUTS if point.pipeline.inputs else OF_TEXTS:
            forecast_s = point.forecast.get(f"{figure}_s", 0.0)
            if forecast_s > 0 and figure in found:
                ratio = found[figure] / forecast_s
                self._ratios.labels(plan, point.name, figure).observe(ratio)

    def note_outcome(self, plan: str, outcome: Outcome, late: Sequence[str]) -> None:
        line = outcome.timeline
        for span in line.spans:
            self._prompt.labels(plan, span.agent, "no").inc(max(0, span.prefilled_tokens))
            self._prompt.labels(plan, span.agent, "yes").inc(span.cached_tokens)
            self._made.labels(plan, span.agent).inc(span.made_tokens)
        for agent, end_s in _ends_s(line).items():
            self._agents.labels(plan, agent).observe(end_s)
        for one in shortfalls_of(line):
            self._lacking.labels(plan, one.agent, "failed or empty").inc()
        for agent in late:
            self._lacking.labels(plan, agent, "deadline").inc()

    def _histogram(
        self, name: str, words: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(
            f"staircase_{name}", words, labels, buckets=buckets, registry=self._registry
        )

    def _counter(self, name: str, words: str, labels: Sequence[str]) -> Counter:
        return Counter(f"staircase_{name}", words, labels, registry=self._registry)


def _ends_s(line: Timeline) -> dict[str, float]:
    """By agent, of the last of its calls."""
    return {span.agent: to_s(span.ended_ps - line.arrival_ps) for span in line.spans}
