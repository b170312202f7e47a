"""Measures the latency profile of a scenario's engines."""

from __future__ import annotations

from dataclasses import replace

from executor.measure.contention import (
    CONTEXT_TOKENS,
    REPEATS,
    WRITTEN_TOKENS,
    kept_busy,
    measure_contention,
)
from executor.measure.measure_latency import MeasuringEffort, measure_latency
from executor.measure.measurements import Sample, Target
from executor.measure.sample_log import SampleLog
from executor.opened_engines import OpenedEngines
from planner.profiling.lookups import lookup_words
from planner.profiling.subjects import form_settings, latency_subjects
from planner.profiling.targets import key_of, target_of
from planner.progress import Track, no_track
from profiles.latency.profile import EngineProfile, LatencyProfile
from profiles.store import content_hash, provenance_of_now
from staircase.errors import EngineError
from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.spec.scenario import Scenario

# Their prompts are other ones than when they are measured.
BESIDE = 1

# Of an engine's budget, for taking turns with another one; fewer repetitions tell nothing.
CONTENTION_SHARE = 0.2
LEAST_REPEATS = 3


def measured_engines(scenario: Scenario) -> dict[str, EngineSpec | OpenAISpec]:
    return {**scenario.real, **scenario.remote}


def keys_of(scenario: Scenario) -> dict[str, str]:
    """By engine: what tells apart what is measured."""
    specs = measured_engines(scenario)
    beside = {name: _beside(scenario, name) for name in specs}
    return {n: key_of(spec, scenario.profile, beside[n]) for n, spec in specs.items()}


def requests_key(scenario: Scenario) -> str:
    """Tells apart what is played: by pipeline, models, formats, seeds, guesses and questions."""
    asked = scenario.requests.model_dump(mode="json", exclude={"likelihood_by"})
    plain = [scenario.pipeline.model_dump(mode="json"), asked]
    texts = {
        name: [form_settings(spec), spec.seed] for name, spec in measured_engines(scenario).items()
    }
    guesses = lookup_words(scenario)
    return content_hash([plain, keys_of(scenario), texts, *([guesses] if guesses else [])])


def make_latency(
    scenario: Scenario, opened: OpenedEngines, log: SampleLog, track: Track = no_track
) -> LatencyProfile:
    """Engines that serve the same model on the same device in the same way are measured once.

    On a device ``cpu:N`` they are measured while the others of that kind decode: cores share
    their memory, and in a pipeline all of them work.

    Raises:
        EngineError: a call failed.
    """
    names: dict[str, str] = {}
    for name, key in keys_of(scenario).items():
        names.setdefault(key, name)
    now_ns, measured = opened.runtime.now_ns, dict[str, EngineProfile]()
    ends_ns = now_ns() + round(scenario.profile.budget_s * 1e9)
    for key, name in names.items():
        left_s = max(0.0, ends_ns - now_ns()) / 1e9
        budget_s = left_s / (len(names) - len(measured))
        measured[key] = _measured(scenario, opened, log, key, name, budget_s, track)
    engines = {name: measured[key] for name, key in keys_of(scenario).items()}
    settings = scenario.profile.model_dump(
        mode="json", include={"max_prompt_tokens", "max_batch", "budget_s", "target_error"}
    )
    return LatencyProfile(engines, provenance_of_now(settings), of=latency_subjects(scenario))


def _measured(
    scenario: Scenario,
    opened: OpenedEngines,
    log: SampleLog,
    key: str,
    name: str,
    budget_s: float,
    track: Track,
) -> EngineProfile:
    spec, beside = measured_engines(scenario)[name], _beside(scenario, name)
    step = track(f"latency of {name} ({spec.model}), {budget_s:g} s at most", None)
    other = _neighbour(scenario, name)
    share = 1 - CONTENTION_SHARE if other else 1.0
    effort = MeasuringEffort(share * budget_s, scenario.profile.target_error)

    def keep(sample: Sample) -> None:
        log.append(key, sample)
        step()

    try:
        target = target_of(opened, name, spec, scenario.profile)
        others = [target_of(opened, n, scenario.real[n], scenario.profile, BESIDE) for n in beside]
        with kept_busy(others):
            profile = measure_latency(target, effort, log.samples(key), keep)
        if name in opened.remote:
            return replace(profile, restates=opened.remote[name].restates)
        if other is None:
            return profile
        turns = target_of(opened, other, scenario.real[other], scenario.profile)
        return _with_contention(profile, target, turns, CONTENTION_SHARE * budget_s)
    except RuntimeError as error:
        raise EngineError(f"engine {name!r}: {error}") from None


def _beside(scenario: Scenario, name: str) -> list[str]:
    """If ``name`` has cores of its own, an engine on each other device of that kind."""
    cores: dict[int, str] = {}
    for other, spec in scenario.real.items():
        if spec.core is not None:
            cores.setdefault(spec.core, other)
    own = scenario.real[name].core if name in scenario.real else None
    return [] if own is None else [other for core, other in sorted(cores.items()) if core != own]


def _neighbour(scenario: Scenario, name: str) -> str | None:
    """Another engine on the same device, of another model if there is one."""
    specs = scenario.real
    if name not in specs:
        return None
    others = [n for n in specs if n != name and specs[n].place == specs[name].place]
    unlike = (n for n in others if specs[n].model != specs[name].model)
    return next(unlike, others[0] if others else None)


def _with_contention(
    profile: EngineProfile, one: Target, other: Target, budget_s: float
) -> EngineProfile:
    """As often measured as there is time for, which ``profile`` tells."""
    context = min(CONTEXT_TOKENS, one.max_prompt_tokens)
    # Both alone, then both in turn; the other one is taken to be as fast.
    turn_s = 4 * (profile.prefill_s(context, 0) + WRITTEN_TOKENS * profile.decode_s(1, context))
    repeats = min(REPEATS, int(budget_s / turn_s) - 1)
    if repeats < LEAST_REPEATS:
        said = (*profile.unmeasured, "what turns with another engine cost")
        return replace(profile, unmeasured=said)
    return replace(profile, contention=measure_contention(one, other, repeats))
