"""Plans: the result of a search, with all that is needed to reproduce it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from profiles.store import Provenance, load, save
from simulator.forecast import Forecast
from staircase.errors import PlanError
from staircase.metrics import Summary
from staircase.schedule import Schedule

SCHEMA = "staircase.plan/1"


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
    def stall_s(self) -> float:
        return self.forecast["stall_s"].mean


@dataclass(frozen=True)
class Plan:
    """What a search found.

    Attributes:
        candidates: every schedule that was simulated, in the order of the search.
        front: numbers of the candidates that no other beats in TTFT and loss.
        chosen: number of the candidate with the lowest TTFT at the quality asked for.
        normal, paper: numbers of the baselines, in the chosen layout.
        profile_hashes: of the profiles that the forecasts rest on.
    """

    scenario: str
    candidates: tuple[Candidate, ...]
    front: tuple[int, ...]
    chosen: int
    normal: int
    paper: int
    min_quality: float
    profile_hashes: dict[str, str]
    provenance: Provenance = field(compare=False)

    def named(self) -> dict[str, Candidate]:
        """The candidates that every table shows."""
        numbers = {"normal": self.normal, "paper default": self.paper, "chosen": self.chosen}
        return {name: self.candidates[number] for name, number in numbers.items()}


def pareto_front(candidates: Sequence[Candidate]) -> tuple[int, ...]:
    """Numbers of the candidates that no other beats in both TTFT and loss, by rising TTFT."""
    order = sorted(range(len(candidates)), key=lambda n: (candidates[n].ttft_s, candidates[n].loss))
    front: list[int] = []
    for number in order:
        if not front or candidates[number].loss < candidates[front[-1]].loss:
            front.append(number)
    return tuple(front)


def choose(
    candidates: Sequence[Candidate], min_quality: float, max_stall_s: float | None = None
) -> int:
    """Number of the candidate with the lowest TTFT among those that are good enough.

    Good enough: agreement with full reading of at least ``min_quality``, and a stall of at most
    ``max_stall_s``, for TTFT alone is won by a few tokens and a long wait.

    Raises:
        PlanError: none is.
    """
    good = [
        number
        for number, candidate in enumerate(candidates)
        if candidate.agreement >= min_quality
        and (max_stall_s is None or candidate.stall_s <= max_stall_s)
    ]
    if not good:
        best = max(candidates, key=lambda candidate: candidate.agreement)
        raise PlanError(
            f"no schedule reaches quality {min_quality} within a stall of {max_stall_s} s; "
            f"the best of {len(candidates)} reaches {best.agreement:.3f}: lower plan.min_quality "
            "or raise plan.max_stall_s"
        )
    return min(good, key=lambda number: (candidates[number].ttft_s, candidates[number].loss))


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


def load_plan(path: Path) -> Plan:
    return load(path, SCHEMA, Plan, PlanError)


def find(candidates: Iterable[Candidate], schedule: Schedule) -> int:
    """Number of the candidate with this schedule."""
    for number, candidate in enumerate(candidates):
        if candidate.schedule == schedule:
            return number
    raise PlanError("the schedule is not among the plan's candidates")
