"""Measures what an engine's iterations cost, where the fit knows least, until it is good enough.

A coarse grid first; then, round by round, the places that the fit predicts worst from the others:
again where their times scatter, else with new places beside them. Every round is in random order
and visits some other places once more, so that a machine's drift hits all alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from executor.find_cache import find_cache
from executor.latency_places import Place, Prefill, Region
from executor.latency_samples import Samples, errors, noise
from executor.latency_visits import Sample, Target, visit
from profiles.latency import EngineProfile

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


@dataclass(frozen=True)
class Effort:
    """When to stop: both cross-validated errors at most ``target_error``, or no time left.

    Never before some seconds: what a machine does in one is not what it does in ten.
    """

    budget_s: float
    target_error: float = 0.03
    seed: int = 0


def measure_latency(
    target: Target,
    effort: Effort,
    known: Sequence[Sample] = (),
    on_sample: Callable[[Sample], None] = lambda sample: None,
) -> EngineProfile:
    """The engine's profile.

    Args:
        known: samples of an earlier measurement of the same, which goes on here.
        on_sample: hears of every new one.

    Raises:
        RuntimeError: a call failed.
        ProfileError: there were too few places for a fit.
    """
    samples = Samples(target.is_remote, list(known))
    # What was spent on ``known``, and all that passes from now on.
    began_s = target.now_ns() / 1e9 - samples.took_s
    cache = find_cache(target)
    region = Region(
        target.max_prompt_tokens,
        target.max_batch,
        cache.block_tokens if cache else None,
        target.mixed_tokens,
    )
    rng = random.Random(effort.seed + len(known))
    work = _Work(region, samples, effort, rng, lambda: target.now_ns() / 1e9 - began_s)
    while places := work.next_round():
        for place in places:
            sample = _warm_visit(target, place, is_new=work.is_new(place))
            samples.add(sample)
            on_sample(sample)
            if work.is_out_of_time():
                return replace(samples.stated_profile(), cache=cache)
    return replace(samples.stated_profile(), cache=cache)


def _warm_visit(target: Target, place: Place, is_new: bool) -> Sample:
    """The first visit does not count: memory is allocated, shapes are compiled."""
    took_s = visit(target, place).took_s if is_new else 0.0
    sample = visit(target, place)
    return replace(sample, took_s=took_s + sample.took_s)


@dataclass
class _Work:
    """What is to be visited next.

    Attributes:
        spent_s: what has passed by now.
    """

    region: Region
    samples: Samples
    effort: Effort
    rng: random.Random
    spent_s: Callable[[], float]
    places: list[Place] = field(default_factory=list)
    _warm: set[Place] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.places = list(dict.fromkeys([*self.region.coarse(), *self.samples.by_place()]))

    def is_new(self, place: Place) -> bool:
        """Whether it is asked for the first time."""
        is_new = place not in self._warm
        self._warm.add(place)
        return is_new

    def shuffled(self, places: Sequence[Place]) -> list[Place]:
        return self.rng.sample(list(places), len(places))

    def is_out_of_time(self) -> bool:
        """Never before every place of the coarse grid was visited."""
        is_late = self.spent_s() >= self.effort.budget_s
        return is_late and all(self.samples.tries(place) for place in self.region.coarse())

    def next_round(self) -> list[Place]:
        """Empty if it is good enough, or time is up."""
        if self.is_out_of_time():
            return []
        wanted = self._missing(COARSE_VISITS) or self._refined() or self._missing(LEAST_VISITS)
        is_early = self.spent_s() < min(LEAST_S, self.effort.budget_s)
        return self.shuffled(wanted or (self._worth_visiting() if is_early else []))

    def _worth_visiting(self) -> list[Place]:
        return [place for place in self.places if self.samples.by_place().get(place)]

    def _missing(self, visits: int) -> list[Place]:
        """Every place as often as it lacks visits, but for those that were given up."""
        taken = self.samples.by_place()
        counts = {place: len(taken.get(place, ())) for place in self.places}
        return [
            place
            for place, count in counts.items()
            if count or self.samples.tries(place) < MOST_FAILURES
            for _ in range(visits - count)
        ]

    def _refined(self) -> list[Place]:
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

    def _beside(self, place: Place, error: float) -> list[Place]:
        """The place again if its own scatter may explain the error, else new ones too."""
        scatter = noise(self.samples.by_place()[place])
        if scatter > error / 2:
            return [place]
        return [place, *self.region.near(place, self.places, NEIGHBOURS)]
