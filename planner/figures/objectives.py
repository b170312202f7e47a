"""What a plan should be good at: figures of a forecast, from a list, and limits on them.

``smooth_start``, ``ttft.p90``, ``stall.p99``, ``loss``: a metric's mean, or a percentile over
requests. As a limit, a time without a statistic is its p90: a mean hides the readers who wait.
``smooth_start.high``, of gains ``quality.low``, is the worse end of the mean's 90 % interval, which
holds what the profile does not know: a schedule without slack is bad there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.figures.metric_table import BY_WORD, Metric
from staircase.errors import PlanError
from staircase.metrics.request_metrics import Summary
from staircase.spec.plan_spec import PlanSpec

STATISTICS = ("mean", "p50", "p90", "p99")
# The ends of a mean's interval.
ENDS = ("low", "high")
MOST = 4
# What a reader waits for.
STARTS = ("smooth_start", "start_after_input")
_QUALITY = "a quality profile, which 'staircase profile' measures; simulated engines have none"
_INPUT = "pipeline.inputs"
_VOTE = "an agent that votes (pipeline.agents.NAME.vote)"
_USE = "engines whose use is known, which endpoints are not"
# What it takes to know a figure that is not known everywhere.
NEEDS = {
    "loss": _QUALITY,
    "quality": _QUALITY,
    "score": "a quality profile that ties a task's score to the loss (docs/quality.md)",
    "start_after_input": _INPUT,
    "last_after_input": _INPUT,
    "vote_right": f"{_VOTE}, and workload.ballots",
    "samples": _VOTE,
    "device": _USE,
    "reserved": _USE,
    "cost": "plan.prices",
    "goodput": "plan.goodput",
    "capacity": "plan.goodput, simulated engines and workload.rate_per_s",
}


@dataclass(frozen=True)
class Objective:
    """A figure of a forecast, to be made small."""

    word: str
    statistic: str = "mean"

    @property
    def name(self) -> str:
        return self.word if self.statistic == "mean" else f"{self.word}.{self.statistic}"

    @property
    def about(self) -> Metric:
        return BY_WORD[self.word]

    @property
    def metric(self) -> str:
        """Its name in a forecast."""
        return self.about.name

    @property
    def is_gain(self) -> bool:
        """Whether more is better."""
        return self.about.is_gain

    @property
    def is_of_mean(self) -> bool:
        """Whether it is a mean or an end of its interval, and no percentile over requests."""
        return self.statistic == "mean" or self.statistic in ENDS

    def is_known(self, forecast: Mapping[str, Summary]) -> bool:
        return self.metric in forecast or self.about.absent is not None

    def figure(self, forecast: Mapping[str, Summary]) -> float:
        """As users see it."""
        absent = self.about.absent
        if self.metric not in forecast and absent is not None:
            return absent
        return float(getattr(forecast[self.metric], self.statistic))

    def cost(self, forecast: Mapping[str, Summary]) -> float:
        """Less is better; a figure that is undefined or unknown is the worst."""
        figure = self.figure(forecast) if self.is_known(forecast) else math.nan
        if math.isnan(figure):
            return math.inf
        return -figure if self.is_gain else figure


@dataclass(frozen=True)
class Limit:
    """The most that a figure may be; of gains the least."""

    objective: Objective
    figure: float

    @property
    def name(self) -> str:
        """As ``parse_limits`` takes it."""
        one = self.objective
        return f"{one.word}.{one.statistic}" if one.about.is_each else one.name

    def excess(self, forecast: Mapping[str, Summary]) -> float:
        """How far beyond the limit, 0 if it is kept; an unknown figure breaks it."""
        return max(0.0, self.objective.cost(forecast) - self.cost)

    @property
    def cost(self) -> float:
        """The most that the objective may cost."""
        return -self.figure if self.objective.is_gain else self.figure

    def tightened(self, margin: float) -> Limit:
        """Tighter by so large a share; of a quality, by that share of what it lacks."""
        figure = self.figure
        if self.objective.word in ("quality", "score", "vote_right"):
            return replace(self, figure=figure + margin * max(0.0, 1 - figure))
        sign = 1 if self.objective.is_gain else -1
        return replace(self, figure=figure * (1 + sign * margin))

    def __str__(self) -> str:
        relation = "≥" if self.objective.is_gain else "≤"
        return f"{self.name} {relation} {_digits(self.figure)}"


def _digits(figure: float) -> str:
    """As many as it has, so that the same number is read again."""
    return str(float(figure)).removesuffix(".0")


def parse_objective(word: str) -> Objective:
    """``METRIC`` or ``METRIC.STATISTIC``.

    Raises:
        PlanError: there is no such figure.
    """
    if not isinstance(word, str):
        raise PlanError(f"objective {word!r}: must be a word, as ttft.p90")
    metric, _, statistic = word.partition(".")
    if metric not in BY_WORD:
        raise PlanError(f"objective {word!r}: must be one of {', '.join(BY_WORD)}, as in ttft.p90")
    known = (*STATISTICS, "low" if BY_WORD[metric].is_gain else "high")
    if statistic and statistic not in known:
        raise PlanError(f"objective {word!r}: {statistic!r} must be one of {', '.join(known)}")
    return Objective(metric, statistic or "mean")


def parse_objectives(words: Sequence[str]) -> tuple[Objective, ...]:
    """One to four, each once.

    Raises:
        PlanError: there are none or too many, or one is unknown or given twice.
    """
    if isinstance(words, str):
        raise PlanError(f"objectives {words!r}: must be a list, as [{words!r}]")
    found = tuple(parse_objective(word) for word in words)
    if not 1 <= len(found) <= MOST or len(set(found)) < len(found):
        raise PlanError(f"objectives {', '.join(words)}: must be 1 to {MOST}, each once")
    return found


def parse_limits(limits: Mapping[str, float], where: str = "limits") -> tuple[Limit, ...]:
    """Of a time p90 unless the word says otherwise, as in ``ttft.mean``; of the rest the mean.

    Raises:
        PlanError: they are no mapping of figures to finite numbers, or one is given twice.
    """
    if not isinstance(limits, Mapping):
        raise PlanError(f"{where} {limits!r}: must be a mapping, as {{'ttft.p90': 0.5}}")
    found: dict[str, Limit] = {}
    for word, figure in limits.items():
        limit = _limit(where, word, figure)
        if limit.name in found:
            raise PlanError(f"{where} {word!r}: {limit.name!r} is given twice")
        found[limit.name] = limit
    return tuple(found.values())


def _limit(where: str, word: str, figure: float) -> Limit:
    objective = parse_objective(word)
    is_number = isinstance(figure, int | float) and not isinstance(figure, bool)
    if not is_number or not math.isfinite(figure):
        raise PlanError(f"{where} {word!r}: {figure!r} must be a finite number")
    if objective.about.is_each and "." not in word:
        objective = replace(objective, statistic="p90")
    return Limit(objective, figure)


def merged(limits: Sequence[Limit], instead: Sequence[Limit]) -> tuple[Limit, ...]:
    """Both, but of a figure that both limit only ``instead``."""
    return tuple({limit.name: limit for limit in (*limits, *instead)}.values())


def limits_of_words(words: Sequence[str]) -> tuple[Limit, ...]:
    """Limits in words, each ``FIGURE=VALUE`` as in ``ttft.p90=0.5``.

    Raises:
        PlanError: there is no such figure, it is given twice, or the value is no number.
    """
    limits: dict[str, float] = {}
    for word in words:
        name, _, value = word.partition("=")
        parse_objective(name)
        if name in limits or not _is_finite(value):
            raise PlanError(f"limit {word!r}: must be FIGURE=VALUE, each once, as in ttft.p90=0.5")
        limits[name] = float(value)
    return parse_limits(limits, "limit")


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class Goals:
    """What a search is for.

    Attributes:
        unnoticed_s: schedules whose first objective is so near the best are as good in it.
    """

    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()
    unnoticed_s: float = 0.0

    @staticmethod
    def of(spec: PlanSpec, knows_quality: bool, has_inputs: bool = False) -> Goals:
        """Those of a scenario; where no quality is known, what is unread stands in for it.

        Where there are inputs, a smooth start counts from their end.

        Where engines were measured, the choice is by the end of the interval that holds what the
        profile does not know: by the mean a schedule without slack looks as good as one with.

        Raises:
            PlanError: there is no such objective or limit.
        """
        if "min_quality" in spec.model_fields_set and not knows_quality:
            raise PlanError(f"plan.min_quality: quality is not known here: needs {_QUALITY}")
        start = "start_after_input" if has_inputs else "smooth_start"
        start += ".high" if knows_quality and spec.requests > 1 else ""
        words = spec.objectives or [start, "loss" if knows_quality else "unread"]
        given = {"quality": spec.min_quality} if knows_quality else {"unread": spec.max_unread}
        if "max_unread" in spec.model_fields_set:
            given["unread"] = spec.max_unread
        limits = merged(parse_limits(given), parse_limits(spec.limits, "plan.limits"))
        found = Goals(parse_objectives(words), limits).of_reader(spec.reading_rate)
        asked = (*found.objectives, *(limit.objective for limit in limits))
        may_fall = has_inputs or spec.checked != [0]
        if not may_fall and any(one.word == "retracted" for one in asked):
            raise PlanError(
                "'retracted': nothing is taken back here: needs pipeline.inputs or plan.checked"
            )
        return found

    def of_reader(self, reading_rate: float) -> Goals:
        """The same for somebody who reads so many tokens a second.

        Of two smooth starts less than a token's reading time apart, no reader gains by the earlier.
        """
        is_of_reader = self.objectives[0].word in STARTS
        return replace(self, unnoticed_s=1 / reading_rate if is_of_reader else 0.0)

    def costs(self, forecast: Mapping[str, Summary]) -> tuple[float, ...]:
        """What each objective comes to; less is better."""
        return tuple(objective.cost(forecast) for objective in self.objectives)

    def tightened(self, margin: float) -> Goals:
        return replace(self, limits=tuple(limit.tightened(margin) for limit in self.limits))

    def missed(self, forecast: Mapping[str, Summary]) -> tuple[str, ...]:
        """The limits that it does not keep, in words."""
        return tuple(
            f"{limit}, is {limit.objective.figure(forecast):.4g}"
            for limit in self.limits
            if limit.excess(forecast)
        )

    def keeps(self, forecast: Mapping[str, Summary]) -> bool:
        return not any(limit.excess(forecast) for limit in self.limits)

    def check(self, forecast: Mapping[str, Summary]) -> None:
        """Raises PlanError if an objective or a limit has no value for this pipeline."""
        asked = {"objectives": self.objectives, "limits": [one.objective for one in self.limits]}
        for key, objectives in asked.items():
            for objective in objectives:
                _check_figure(f"plan.{key}: {objective.word!r}", objective, forecast)


def _check_figure(where: str, objective: Objective, forecast: Mapping[str, Summary]) -> None:
    if not objective.is_known(forecast):
        known = ", ".join(word for word, one in BY_WORD.items() if one.name in forecast)
        needs = NEEDS.get(objective.word)
        raise PlanError(
            f"{where} is not known here{f': needs {needs}' if needs else ''}; known: {known}"
        )
    if math.isnan(objective.figure(forecast)):
        why = (
            "the interval needs more requests"
            if objective.statistic in ENDS
            else "the answers have too few tokens"
        )
        raise PlanError(f"{where} has no value here: {why}")
