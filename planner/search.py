"""The search: an Optuna study over schedules, judged by simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optuna

from planner.plan import Candidate, Plan, choose, find, pareto_front
from planner.space import baseline_parameters, paper_staircase, suggest_schedule
from profiles.store import provenance_of_now
from simulator.forecast import Forecaster
from staircase.errors import PlanError
from staircase.scenario import Scenario
from staircase.schedule import Schedule, normal, uniform

POPULATION = 40


def search(
    scenario: Scenario,
    forecaster: Forecaster,
    profile_hashes: Mapping[str, str],
    on_trial: Callable[[], None] = lambda: None,
) -> Plan:
    """Searches for schedules with low TTFT and low quality loss.

    The same seed gives the same candidates. Baselines are tried first.

    Raises:
        PlanError: no schedule is good enough, or nothing is known of quality.
    """
    if forecaster.quality is None:
        raise PlanError("a plan weighs latency against quality, of which there is no profile")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pipeline, spec = forecaster.pipeline, scenario.plan
    study = optuna.create_study(
        directions=["minimize", "minimize"],
        sampler=optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=spec.seed),
    )
    for parameters in baseline_parameters(spec):
        study.enqueue_trial(parameters)
    book = _Book(forecaster)
    for _ in range(spec.trials):
        trial = study.ask()
        candidate = book.candidate(suggest_schedule(trial, pipeline, spec))
        study.tell(trial, [candidate.ttft_s, candidate.loss])
        on_trial()
    for layout in spec.layouts:
        book.candidate(uniform(pipeline, normal(), layout))
        book.candidate(uniform(pipeline, paper_staircase(spec), layout))
    return _plan(scenario, book.candidates, profile_hashes)


class _Book:
    """Forecasts every schedule once, however often it is suggested."""

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster
        self._numbers: dict[str, int] = {}
        self.candidates: list[Candidate] = []

    def candidate(self, schedule: Schedule) -> Candidate:
        name = repr(schedule)
        if name not in self._numbers:
            self._numbers[name] = len(self.candidates)
            self.candidates.append(Candidate.of(schedule, self._forecaster(schedule)))
        return self.candidates[self._numbers[name]]


def _plan(
    scenario: Scenario, candidates: list[Candidate], profile_hashes: Mapping[str, str]
) -> Plan:
    spec, pipeline = scenario.plan, scenario.pipeline.build()
    chosen = choose(candidates, spec.min_quality, spec.max_stall_s)
    layout = candidates[chosen].schedule.layout
    return Plan(
        scenario=scenario.name,
        candidates=tuple(candidates),
        front=pareto_front(candidates),
        chosen=chosen,
        normal=find(candidates, uniform(pipeline, normal(), layout)),
        paper=find(candidates, uniform(pipeline, paper_staircase(spec), layout)),
        min_quality=spec.min_quality,
        profile_hashes=dict(profile_hashes),
        provenance=provenance_of_now(spec.model_dump(mode="json")),
    )
