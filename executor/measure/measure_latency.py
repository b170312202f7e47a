"""Measures what an engine's iterations cost, where the fit knows least, until it is good enough.

A coarse grid first, from its ends inwards; then, round by round, the places that the fit predicts
worst from the others: again where their times scatter, else with new places beside them. Every
round is in random order and visits some other places once more, so that a machine's drift hits all
alike. What would not be over within the budget is not begun, but for the least that makes a fit.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from itertools import accumulate

from executor.measure.cache_search_cost import longest_within
from executor.measure.find_cache import find_cache
from executor.measure.grid_points import Decode, GridPoint, Prefill, Region
from executor.measure.latency_costs import Costs
from executor.measure.latency_samples import Samples, errors, noise
from executor.measure.measurements import Sample, Target, measure_at, with_header
from executor.measure.unmeasured import unmeasured
from profiles.latency.fit import FOLDS
from profiles.latency.profile import LEAST_DECODE_POINTS, EngineProfile

COARSE_VISITS = 3
# Fewer visits of a place say little of its median and spread.
LEAST_VISITS = 5
# In a round: places that are predicted worst, new ones beside each, visits of each of them, and
# the share of all others that is visited again.
WORST = 3
NEIGHBOURS = 2
ROUND_VISITS = 3
REVISITED = 0.25
# Measured for at least so long, if there is time.
LEAST_S = 6.0
# Visits after which a place that never was what it should be is given up.
MOST_FAILURES = 4
# Of the budget, for finding out about the prefix cache.
CACHE_SHARE = 0.25
# Places of each kind without which there is no fit.
LEAST_PLACES: dict[type[GridPoint], int] = {Prefill: FOLDS, Decode: LEAST_DECODE_POINTS}


@dataclass(frozen=True)
class MeasuringEffort:
    """When to stop: both cross-validated errors at most ``target_error``, or no time left.

    Never before some seconds: what a machine does in one is not what it does in ten.
    """

    budget_s: float
    target_error: float = 0.03
    seed: int = 0


def measure_latency(
    target: Target,
    effort: MeasuringEffort,
    known: Sequence[Sample] = (),
    on_sample: Callable[[Sample], None] = lambda sample: None,
) -> EngineProfile:
    """The engine's profile; it says what there was no time to measure.

    Args:
        known: samples of an earlier measurement of the same, which goes on here.
        on_sample: hears of every new one.

    Raises:
        RuntimeError: a call failed.
        ProfileError: there were too few places for a fit.
    """
    samples, target = Samples(target.is_remote, list(known)), with_header(target)
    # What was spent on ``known``, and all that passes from now on.
    began_s = target.now_ns() / 1e9 - samples.took_s
    looked = longest_within(target, CACHE_SHARE * effort.budget_s)
    cache = find_cache(target, looked) if looked else None
    region = Region(
        target.max_prompt_tokens,
        target.max_batch,
        cache.block_tokens if cache else None,
        target.mixed_tokens,
        target.widest_pass,
    )
    rng = random.Random(effort.seed + len(known))
    work = _Work(region, samples, effort, rng, lambda: target.now_ns() / 1e9 - began_s)
    while places := work.next_round():
        for place in places:
            if work.is_worth(place):
                sample = _measure_warm(target, place, is_new=work.is_new(place))
                work.add(sample)
                on_sample(sample)
    found = replace(samples.stated_profile(), cache=cache)
    left_out = unmeasured(region, found, looked, effort.budget_s, work.least_s)
    return replace(found, unmeasured=left_out)


def _measure_warm(target: Target, place: GridPoint, is_new: bool) -> Sample:
    """The first measurement does not count: memory is allocated, shapes are compiled."""
    took_s = measure_at(target, place).took_s if is_new else 0.0
    sample = measure_at(target, place)
    return replace(sample, took_s=took_s + sample.took_s)


@dataclass
class _Work:
    """What is to be visited next.

    Attributes:
        spent_s: what has passed by now.
        least_s: what had passed when there was enough for a fit.
    """

    region: Region
    samples: Samples
    effort: MeasuringEffort
    rng: random.Random
    spent_s: Callable[[], float]
    places: list[GridPoint] = field(default_factory=list)
    least_s: float = 0.0
    _warm: set[GridPoint] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._coarse = self.region.coarse()
        self.places = list(dict.fromkeys([*self._coarse, *self.samples.by_place()]))
        self._costs = Costs()
        self._tries, self._taken = Counter[GridPoint](), set[GridPoint]()
        passed_s = accumulate(sample.took_s for sample in self.samples.taken)
        for sample, now_s in zip(self.samples.taken, passed_s, strict=True):
            self._know(sample, now_s)

    def add(self, sample: Sample) -> None:
        self.samples.add(sample)
        self._know(sample, self.spent_s())

    def _know(self, sample: Sample, now_s: float) -> None:
        if self._lacking():
            self.least_s = now_s
        self._costs.add(sample)
        self._tries[sample.place] += 1
        if sample.seconds:
            self._taken.add(sample.place)

    def is_new(self, place: GridPoint) -> bool:
        """Whether it is asked for the first time."""
        is_new = place not in self._warm
        self._warm.add(place)
        return is_new

    def is_worth(self, place: GridPoint) -> bool:
        """Whether a measurement is over in time, or there is no fit without it."""
        return self._fits(place) or place in self._lacking()

    def _fits(self, place: GridPoint) -> bool:
        """Also that what a fit still lacks is over in time."""
        reserved = [other for other in self._lacking() if other != place]
        needed_s = self._costs.visit_s(place) + self._costs.all_s(reserved)
        return self.spent_s() + needed_s <= self.effort.budget_s

    def next_round(self) -> list[GridPoint]:
        """Empty if it is good enough, or time is up."""
        if first := self._first():
            return [first]
        coarse, least = partial(self._missing, COARSE_VISITS), partial(self._missing, LEAST_VISITS)
        for wanted in (coarse, self._refined, least, self._worth_visiting):
            if found := list(filter(self._fits, wanted())):
                return self.rng.sample(found, len(found))
        return []

    def _worth_visiting(self) -> list[GridPoint]:
        """Once more what is known, where not enough time has passed."""
        is_early = self.spent_s() < min(LEAST_S, self.effort.budget_s)
        return [place for place in self.places if is_early and place in self._taken]

    def _first(self) -> GridPoint | None:
        """Of the coarse grid, the place that is farthest from all that were visited."""
        left = [place for place in self._coarse if not self._tries[place]]
        lacking = self._lacking()
        fitting = [place for place in left if self._fits(place)]
        if self._costs.prefills and self._costs.decodes and fitting:
            return max(fitting, key=self._remoteness)
        # Nothing is known of what it costs, or too little time left for anything else.
        known = {type(place) for place in self._taken}
        return min(lacking, key=lambda place: type(place) in known, default=None)

    def _remoteness(self, place: GridPoint) -> float:
        visited = [other for other in self._taken if type(other) is type(place)]
        return min((self.region.apart(place, other) for other in visited), default=float("inf"))

    def _lacking(self) -> list[GridPoint]:
        """The cheapest places without which there is no fit, the cheapest first."""
        lacking = list[GridPoint]()
        for kind, least in LEAST_PLACES.items():
            count = least - sum(isinstance(place, kind) for place in self._taken)
            if count > 0:
                own = [p for p in self._coarse if isinstance(p, kind) and p not in self._taken]
                free = [place for place in own if self._tries[place] < MOST_FAILURES]
                lacking += sorted(free, key=self._need)[:count]
        return sorted(lacking, key=self._size)

    def _need(self, place: GridPoint) -> tuple[bool, tuple[float, int]]:
        """What a fit cannot do without first, then the cheapest."""
        return place not in self.region.telling_batches, self._size(place)

    def _size(self, place: GridPoint) -> tuple[float, int]:
        """Where no costs are known, tokens tell which is the cheapest."""
        return self._costs.visit_s(place), sum(astuple(place))

    def _missing(self, visits: int) -> list[GridPoint]:
        """Every place as often as it lacks visits, but for those that were given up."""
        taken = self.samples.by_place()
        counts = {place: len(taken.get(place, ())) for place in self.places}
        return [
            place
            for place, count in counts.items()
            if count or self._tries[place] < MOST_FAILURES
            for _ in range(visits - count)
        ]

    def _refined(self) -> list[GridPoint]:
        """Round the places that are predicted worst, if the fit is not good enough."""
        profile = self.samples.profile()
        found = errors(profile)
        kinds = {True: profile.prefill.error, False: profile.decode.error}
        bad = [
            place
            for place in sorted(found, key=found.__getitem__, reverse=True)
            if kinds[isinstance(place, Prefill)] > self.effort.target_error
        ]
        if not bad:
            return []
        wanted = [place for worst in bad[:WORST] for place in self._beside(worst, found[worst])]
        self.places += [place for place in dict.fromkeys(wanted) if place not in self.places]
        others = self.rng.sample(self.places, round(REVISITED * len(self.places)))
        return [*dict.fromkeys(wanted)] * ROUND_VISITS + others

    def _beside(self, place: GridPoint, error: float) -> list[GridPoint]:
        """The place again if its own scatter may explain the error, else new ones too."""
        scatter = noise(self.samples.by_place()[place])
        if scatter > error / 2:
            return [place]
        return [place, *self.region.near(place, self.places, NEIGHBOURS)]
