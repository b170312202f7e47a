"""Makes the explanation of a plan: a few more forecasts, and figures of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from planner.figures.objectives import Goals, Objective, parse_objective
from planner.report.front_growth import front_growth
from planner.report.front_members import MEMBERS, front_member
from planner.results.breakdown import TtftParts, median_request, ttft_parts
from planner.results.explanation import Explanation, FrontMember, Gain, LimitUse, Neighbour
from planner.results.plans import Candidate, Plan, spread_out
from planner.results.reader_gain import ReaderGain, bounds_of
from planner.search.importance import importances
from planner.search.neighbours import neighbours_of
from simulator.analytic.lower_bound import Stage
from simulator.forecaster import Forecaster
from staircase.metrics.distributions import distributions
from staircase.pipeline import Pipeline
from staircase.spec.plan_spec import PlanSpec
from staircase.timeline import Timeline, since_arrival

# What the choice is set beside the baselines in, beside the objectives.
ALSO = ("ttft", "smooth_start", "e2e", "stall")


def explained(
    plan: Plan,
    spec: PlanSpec,
    forecaster: Forecaster,
    on_forecast: Callable[[], None] = lambda: None,
) -> Plan:
    """``plan`` with its explanation; ``forecaster`` forecasts what it has not seen."""
    return replace(plan, explanation=_Explainer(plan, spec, forecaster, on_forecast).explain())


@dataclass(frozen=True)
class _Explainer:
    plan: Plan
    spec: PlanSpec
    forecaster: Forecaster
    on_forecast: Callable[[], None]

    def explain(self) -> Explanation:
        plan, stage = self.plan, self.forecaster.stage
        has_inputs, answer = bool(stage.pipeline.inputs), stage.pipeline.answer
        goals = Goals.of(self.spec, self.forecaster.knows_quality, has_inputs)
        played = {name: stage.play(one.schedule) for name, one in plan.named().items()}
        typical = median_request(played["chosen"])
        return Explanation(
            answer=answer,
            gains=tuple(self._gains(goals)),
            reading=self._reading(goals, stage, played["normal"]),
            limits=tuple(_use(limit, plan, goals) for limit in range(len(goals.limits))),
            keeps_limits={n: goals.keeps(one.forecast) for n, one in plan.named().items()},
            ttft=self._parts(stage, played),
            bound=self._bounds(stage.without_queues()),
            timelines={name: since_arrival(lines[typical]) for name, lines in played.items()},
            importances=importances(plan.candidates, goals, answer),
            figures=_figures(plan.named()["chosen"], goals),
            neighbours=tuple(self._neighbours(goals, stage.pipeline)),
            front=tuple(self._front(stage, typical)),
            distributions={name: distributions(lines) for name, lines in played.items()},
            growth=front_growth(plan.candidates, goals),
        )

    def _front(self, stage: Stage, typical: int) -> Iterator[FrontMember]:
        """Each played, of the same request as the named ones."""
        for number in spread_out(self.plan.front, MEMBERS):
            lines = stage.play(self.plan.candidates[number].schedule)
            self.on_forecast()
            line, rate = since_arrival(lines[typical]), self.spec.reading_rate
            yield front_member(number, line, stage.pipeline.answer, rate)

    def _gains(self, goals: Goals) -> Iterator[Gain]:
        named = self.plan.named()
        words = dict.fromkeys([*(o.name for o in goals.objectives), *ALSO])
        for objective in map(parse_objective, words):
            if objective.is_known(named["chosen"].forecast):
                for baseline in ("normal", "paper default"):
                    yield gain(objective, named["chosen"], baseline, named[baseline])

    def _reading(self, goals: Goals, stage: Stage, normal: Sequence[Timeline]) -> ReaderGain:
        named, rate = self.plan.named(), self.spec.reading_rate
        bounds = [*bounds_of(stage, normal, rate), *_kept_out(self.plan, goals)]
        return ReaderGain.of(rate, named["normal"].forecast, named["chosen"].forecast, bounds)

    def _parts(
        self, stage: Stage, played: Mapping[str, Sequence[Timeline]]
    ) -> dict[str, TtftParts]:
        schedules = {name: one.schedule for name, one in self.plan.named().items()}
        return {
            name: ttft_parts(lines, stage.pipeline, schedules[name], stage.call_ps)
            for name, lines in played.items()
        }

    def _bounds(self, stage: Stage) -> dict[str, TtftParts]:
        named = self.plan.named()
        return self._parts(stage, {name: stage.play(one.schedule) for name, one in named.items()})

    def _neighbours(self, goals: Goals, pipeline: Pipeline) -> Iterator[Neighbour]:
        known = {one.schedule.key: one for one in self.plan.candidates}
        rejected = {self.plan.candidates[number].schedule.key for number in self.plan.rejected}
        for near in neighbours_of(self.plan.named()["chosen"].schedule, self.spec, pipeline):
            name = near.schedule.key
            if name not in known:
                known[name] = Candidate.of(near.schedule, self.forecaster(near.schedule))
            self.on_forecast()
            found = known[name]
            figures = _figures(found, goals)
            keeps = goals.keeps(found.forecast) and name not in rejected
            yield Neighbour(near.parameter, near.value, figures, keeps)


def gain(objective: Objective, chosen: Candidate, baseline: str, other: Candidate) -> Gain:
    value, before = objective.figure(chosen.forecast), objective.figure(other.forecast)
    saved = 1 - value / before if before else None
    is_better = value > before if objective.is_gain else value < before
    return Gain(objective.name, baseline, before, value, saved, is_better)


def _use(number: int, plan: Plan, goals: Goals) -> LimitUse:
    limit, first = goals.limits[number], goals.objectives[0]
    chosen = plan.named()["chosen"].forecast
    value = limit.objective.figure(chosen) if limit.objective.is_known(chosen) else None
    faster = (c.forecast for c in plan.candidates if first.cost(c.forecast) < first.cost(chosen))
    return LimitUse(str(limit), value, sum(limit.excess(forecast) > 0 for forecast in faster))


def _kept_out(plan: Plan, goals: Goals) -> Iterator[str]:
    """Limits that keep out schedules with a smooth start before the choice's."""
    chosen_s = plan.named()["chosen"].smooth_start_s
    earlier = [one.forecast for one in plan.candidates if one.smooth_start_s < chosen_s]
    for limit in goals.limits:
        count = sum(limit.excess(forecast) > 0 for forecast in earlier)
        if count:
            yield f"{limit} keeps {count} schedules that start earlier out"


def _figures(candidate: Candidate, goals: Goals) -> dict[str, float]:
    return {o.name: o.figure(candidate.forecast) for o in goals.objectives}
