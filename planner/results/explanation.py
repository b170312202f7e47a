"""What a plan says about its choice, beside the forecasts: part of the plan's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.results.breakdown import TtftParts
from planner.results.reader_gain import ReaderGain
from staircase.timeline import Timeline


@dataclass(frozen=True)
class Gain:
    """The choice beside a baseline, in one figure of the forecast.

    Attributes:
        saved: share of the baseline's figure; below 0 if the choice has more; None if that is 0.
        is_better: by the figure's direction.
    """

    figure: str
    baseline: str
    baseline_value: float
    value: float
    saved: float | None
    is_better: bool


@dataclass(frozen=True)
class Neighbour:
    """A schedule that differs from the choice in one parameter.

    Attributes:
        value: of the parameter.
        figures: its forecast by objective.
        keeps_limits: whether it is within the plan's limits, as far as is known on held-out
            requests too.
    """

    parameter: str
    value: str
    figures: Mapping[str, float]
    keeps_limits: bool


@dataclass(frozen=True)
class LimitUse:
    """What a limit costs.

    Attributes:
        words: the limit as the plan names it.
        value: what the choice has; None where it is not known.
        excluded: candidates that would beat the choice in the first objective but break it.
    """

    words: str
    value: float | None
    excluded: int


@dataclass(frozen=True)
class FrontMember:
    """A member of the front as it was played, of the request that ``Explanation.timelines`` are of.

    Attributes:
        number: of the candidate.
        written, output_tokens, read: of every call of the answer: tokens written before it, tokens
            that it wrote, and the most that it had read of a source.
        tokens, answer_ps: some of the answer's tokens, counted from 1, and when each was there.
    """

    number: int
    written: tuple[int, ...]
    output_tokens: tuple[int, ...]
    read: tuple[int, ...]
    tokens: tuple[int, ...]
    answer_ps: tuple[int, ...]


@dataclass(frozen=True)
class FrontGrowth:
    """The front after so many schedules.

    Attributes:
        hypervolume: as a share of the last front's.
    """

    simulated: int
    hypervolume: float


@dataclass(frozen=True)
class Explanation:
    """Why this schedule, and what it does.

    Attributes:
        answer: the agent whose staircase is the plan's.
        gains: over the baselines.
        reading: what a reader gains, by forecast.
        limits: in the order of the plan's.
        keeps_limits: whether each is within them, by the names of ``Plan.named``.
        ttft: where TTFT goes, by the same names.
        bound: the same with no call in another's way (``simulator.analytic.lower_bound``).
        timelines: by the same names, of the request that has the choice's median TTFT; they begin
            at 0.
        importances: of each parameter, by objective.
        figures: the choice's, by objective; what ``neighbours`` are set beside.
        front: members of the front, evenly spread where there are many.
        distributions: of TTFT and ITL, by the names of ``Plan.named``
            (``staircase.metrics.distributions``).
        growth: of the front, where it changed, and at the end of the search.
    """

    answer: str
    gains: tuple[Gain, ...]
    reading: ReaderGain
    limits: tuple[LimitUse, ...]
    keeps_limits: Mapping[str, bool]
    ttft: Mapping[str, TtftParts]
    bound: Mapping[str, TtftParts]
    timelines: Mapping[str, Timeline]
    importances: Mapping[str, Mapping[str, float]]
    figures: Mapping[str, float]
    neighbours: tuple[Neighbour, ...]
    front: tuple[FrontMember, ...] = ()
    distributions: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    growth: tuple[FrontGrowth, ...] = ()
