"""Plans: the result of a search, with all that is needed to reproduce it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from planner.extras import extras
from planner.figures.describing import describe_schedule
from planner.figures.front import front_of
from planner.figures.objectives import Goals, Limit, merged, parse_limits, parse_objective
from planner.results.documents import figures_of
from planner.results.explanation import Explanation
from planner.results.shown import Row, Shown, figures_by_statistic, shown_figures
from profiles.store import Provenance, content_hash, load, save
from simulator.forecast import Forecast
from staircase.errors import PlanError
from staircase.metrics.request_metrics import Summary
from staircase.schedule import Schedule

SCHEMA = "staircase.plan/4"
# Figures of the requests that keep the limits in ``plan.goodput``.
OF_LIMITS = ("goodput", "capacity")


@dataclass(frozen=True)
class Candidate:
    """A schedule and its forecast.

    Attributes:
        forecast: summaries by metric, plus ``loss``, ``agreement`` and, where the quality profile
            ties it to the loss, ``score``.
        extrapolated: what lies outside the profile's measured range.
    """

    schedule: Schedule
    forecast: Mapping[str, Summary]
    extrapolated: tuple[str, ...] = ()

    @staticmethod
    def of(schedule: Schedule, forecast: Forecast) -> Candidate:
        quality = forecast.quality
        if quality is None:
            return Candidate(schedule, forecast.metrics, forecast.extrapolated)
        figures = {"loss": quality.loss, "agreement": quality.agreement}
        if quality.score is not None:
            figures["score"] = quality.score
        return Candidate(schedule, {**forecast.metrics, **figures}, forecast.extrapolated)

    @property
    def ttft_s(self) -> float:
        return self.forecast["ttft_s"].mean

    @property
    def loss(self) -> float:
        return self.forecast["loss"].mean

    @property
    def agreement(self) -> float:
        return self.forecast["agreement"].mean

    @property
    def smooth_start_s(self) -> float:
        return self.forecast["smooth_start_s"].mean


@dataclass(frozen=True)
class HeldOut:
    """A candidate on requests that the search did not see.

    Attributes:
        number: of the candidate.
        missed: the limits, tightened by the plan's margin, that it does not keep there, in words.
    """

    number: int
    forecast: Mapping[str, Summary]
    missed: tuple[str, ...]

    def or_missing(self, missed: tuple[str, ...]) -> HeldOut:
        """If it keeps the plan's limits, what it misses of others."""
        return replace(self, missed=self.missed or missed)


@dataclass(frozen=True)
class Plan(Shown):
    """What a search found.

    Attributes:
        objectives, limits: in words.
        candidates: every schedule that was simulated, in the order of the search.
        front: numbers of the candidates within the limits that no other beats in all objectives,
            by the first one; of all candidates, if none is within them.
        chosen: number of the best candidate within the limits, on held-out requests too.
        normal, paper: numbers of the baselines, in the chosen layout.
        reading_rate: tokens a second of the reader whose smooth start and stall these are.
        profile_hashes: of the profiles that the forecasts rest on.
        held_out: what was forecast of members of the front on held-out requests.
        explanation: why this choice, and what it does (``planner.report.explaining``).
    """

    scenario: str
    objectives: tuple[str, ...]
    limits: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    front: tuple[int, ...]
    chosen: int
    normal: int
    paper: int
    reading_rate: float
    profile_hashes: dict[str, str]
    provenance: Provenance = field(compare=False)
    held_out: tuple[HeldOut, ...] = ()
    explanation: Explanation | None = None

    @property
    def front_candidates(self) -> tuple[Candidate, ...]:
        """The candidates of the front, by the first objective."""
        return tuple(self.candidates[number] for number in self.front)

    def best(
        self, objective: str | None = None, slo: Mapping[str, float] | None = None
    ) -> Candidate:
        """The best candidate by ``objective``, or else the plan's choice.

        Where some were looked at on held-out requests, one of those that kept the plan's limits and
        ``slo`` there too.

        Args:
            objective: as in ``planner.figures.objectives``, say ``ttft.p90``.
            slo: limits beside the plan's own, the most that a figure may be (of quality and score
                the least), in seconds: ``{"ttft.p90": 0.5, "quality": 0.97}``.

        Raises:
            PlanError: there is no such figure, or no candidate is within the limits.
        """
        limits = merged(self.limits_of(), parse_limits({} if slo is None else slo, "slo"))
        words = dict.fromkeys([objective or self.objectives[0], *self.objectives])
        goals = Goals(tuple(map(parse_objective, words)), limits)
        if objective is None:
            goals = goals.of_reader(self.reading_rate)
        goals.check(self.candidates[self.chosen].forecast)
        held_out = [one.or_missing(goals.missed(one.forecast)) for one in self.held_out]
        return self.candidates[choose(self.candidates, goals, held_out)]

    @property
    def rejected(self) -> dict[int, tuple[str, ...]]:
        """Candidates that are within the limits, but not on held-out requests: what they miss."""
        return {one.number: one.missed for one in self.held_out if one.missed}

    def limits_of(self) -> tuple[Limit, ...]:
        """Its limits, read from the words in ``limits``."""
        pairs = (words.split() for words in self.limits)
        return parse_limits({name: float(figure) for name, _, figure in pairs})

    def fingerprint(self) -> str:
        """The same for plans that differ in provenance only."""
        body = TypeAdapter(Plan).dump_python(self, mode="json", exclude={"provenance"})
        return content_hash(body)

    def table_rows(self) -> list[Row]:
        """One of each candidate."""
        names = {candidate.schedule.key: name for name, candidate in self.named().items()}
        return [
            {
                "candidate": number,
                "name": names.get(one.schedule.key, ""),
                "on_front": number in self.front,
                "schedule": describe_schedule(one.schedule),
                **figures_by_statistic(one.forecast),
            }
            for number, one in enumerate(self.candidates)
        ]

    def shown_rows(self) -> list[Row]:
        """Of the named candidates."""
        return [
            {"": name, **shown_figures(one.forecast), "schedule": describe_schedule(one.schedule)}
            for name, one in self.named().items()
        ]

    def figure(self) -> Any:
        """The front, the staircases, and tokens over time."""
        if self.explanation is None:
            raise PlanError("the plan has no explanation; make one with 'staircase plan'")
        with extras():
            from planner.charts.notebook import plan_figure
        return plan_figure(figures_of(self))

    def named(self) -> dict[str, Candidate]:
        """The candidates that every table shows."""
        numbers = {"normal": self.normal, "paper default": self.paper, "chosen": self.chosen}
        return {name: self.candidates[number] for name, number in numbers.items()}


def pareto_front(candidates: Sequence[Candidate], goals: Goals) -> tuple[int, ...]:
    """Numbers of the candidates that no other beats, by the first objective.

    Only of those within the limits, if there are any.
    """
    good = [number for number, one in enumerate(candidates) if goals.keeps(one.forecast)]
    among = good or list(range(len(candidates)))
    points = [goals.costs(candidates[number].forecast) for number in among]
    return tuple(among[place] for place in front_of(points))


def choose(candidates: Sequence[Candidate], goals: Goals, held_out: Sequence[HeldOut] = ()) -> int:
    """Number of the best candidate within the limits.

    It is the best by the first objective, then by the next. Those that differ in the first by no
    more than a reader notices (``Goals.of_reader``) are compared by the next at once. Where some
    were looked at on held-out requests, it is one of those that kept the limits there.

    Raises:
        PlanError: none is within them.
    """
    good = [number for number, one in enumerate(candidates) if goals.keeps(one.forecast)]
    if not good:
        raise PlanError(
            f"none of {len(candidates)} schedules keeps the plan's limits: "
            + "; ".join(_best(candidates, limit) for limit in goals.limits)
        )
    if held_out:
        within = set(good)
        seen = [one for one in held_out if one.number in within]
        good = [one.number for one in seen if not one.missed]
        if not good:
            raise PlanError(
                f"none of {len(held_out)} schedules of the front keeps the limits on held-out "
                f"requests; {'; '.join(seen[-1].missed) if seen else 'nor on those of the search'}:"
                " plan again with these limits, more plan.requests or workload.requests, or less "
                "plan.held_out.margin"
            )
    _check_possible([candidates[number] for number in good], goals)
    costs = {number: goals.costs(candidates[number].forecast) for number in good}
    most = min(first for first, *_ in costs.values()) + goals.unnoticed_s
    near = [number for number in good if costs[number][0] <= most]
    return min(near, key=lambda number: (*costs[number][1:], costs[number][0]))


def _check_possible(candidates: Sequence[Candidate], goals: Goals) -> None:
    """Raises PlanError if all are alike in an objective because nothing keeps its limits."""
    for objective in goals.objectives:
        figures = [objective.figure(one.forecast) for one in candidates]
        if objective.word in OF_LIMITS and not any(figures):
            raise PlanError(
                f"plan.objectives: {objective.word!r} is 0 for each of {len(candidates)} schedules "
                "within the plan's limits: none keeps plan.goodput; allow more there"
            )


def hold_out(
    front: Sequence[int], forecasts: Iterable[Candidate], goals: Goals
) -> tuple[HeldOut, ...]:
    """Members of a ``front`` with what was forecast of them on held-out requests, in its order."""
    pairs = zip(front, forecasts, strict=True)
    return tuple(HeldOut(n, one.forecast, goals.missed(one.forecast)) for n, one in pairs)


def _best(candidates: Sequence[Candidate], limit: Limit) -> str:
    nearest = min(candidates, key=lambda candidate: limit.excess(candidate.forecast))
    if not limit.objective.is_known(nearest.forecast):
        return f"{limit} (not known here)"
    return f"{limit} (best {limit.objective.figure(nearest.forecast):.3g})"


def spread_out(numbers: Sequence[int], most: int) -> tuple[int, ...]:
    """At most ``most`` of ``numbers``, evenly spread from the first to the last."""
    if len(numbers) <= most:
        return tuple(numbers)
    if most == 1:
        return (numbers[0],)
    step = (len(numbers) - 1) / (most - 1)
    return tuple(numbers[round(place * step)] for place in range(most))


def save_plan(path: Path, plan: Plan) -> str:
    return save(path, SCHEMA, plan, Plan)


def load_plan(path: str | Path) -> Plan:
    """Raises PlanError if there is none in ``path``."""
    return load(Path(path), SCHEMA, Plan, PlanError)


def find(candidates: Iterable[Candidate], schedule: Schedule) -> int:
    """Number of the candidate with this schedule."""
    for number, candidate in enumerate(candidates):
        if candidate.schedule == schedule:
            return number
    raise PlanError("the schedule is not among the plan's candidates")
