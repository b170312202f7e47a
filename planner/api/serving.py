"""Serving: what ``staircase serve`` does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from executor.gateway.app import Settings, make_app
from executor.gateway.figures import OF_INPUTS, OF_TEXTS
from executor.gateway.gate import Gate
from executor.gateway.gateway import Gateway
from executor.gateway.keys import Key, Keys
from executor.gateway.listening import Listening, listen
from executor.gateway.served_plan import (
    CHOSEN,
    NORMAL,
    SINGLE,
    Point,
    ServedPlan,
    ServingLimits,
    ladder_of,
    single_point,
)
from executor.runtime import Runtime
from executor.user_functions import user_function
from planner.api.engines import engines_of
from planner.api.opening import AnyScenario, workspace_of
from planner.api.tuning import plan_with
from planner.progress import SILENT, Progress
from planner.results.plans import Candidate, Plan, load_plan, spread_out
from planner.sole_use import sole_use
from planner.tuning.replanning import corrected_latency, following
from planner.tuning.run_log import PlayedRun
from planner.workspace import Workspace
from profiles.latency.profile import LatencyProfile, save_latency
from staircase.errors import PlanError, ScenarioError, ScheduleError
from staircase.spec.serve_spec import GateSpec
from staircase.timeline import to_s

# Points of the front that clients can ask for, and those that the load may move a request to.
MOST_POINTS = 8
MOST_CHEAPER = 3
LOOPBACK, SETTINGS = Listening(), Settings()
# What a schedule costs the engines, and the figures that are compared with what is measured.
COST = "busy_s"
FORECAST = tuple(f"{figure}_s" for figure in (*OF_TEXTS, *OF_INPUTS))


def serve(
    *scenarios: AnyScenario,
    listening: Listening = LOOPBACK,
    keys: Mapping[str, Key] | None = None,
    out: str | Path | None = None,
    replans: bool = False,
    progress: Progress = SILENT,
    on_open: Callable[[Gateway], None] = lambda gateway: None,
) -> None:
    """Serves the scenarios' plans until a signal ends it.

    Args:
        keys: of clients, by name; None: everybody may ask.
        out: folder in which the plan lies, of a single scenario [default: runs/NAME].
        replans: where answers take longer or less than forecast, the latency profile is corrected
            and a new plan is made and served.
        on_open: called when all engines are there.

    Raises:
        InputError: a scenario is wrong, or there is no plan for it.
        EngineError: an engine cannot be used.
    """
    works = [workspace_of(one, out) for one in scenarios]
    with gateway_of(works, keys, progress, replans) as gateway:
        names = ", ".join(work.scenario.name for work in works)
        progress.say([f"serving {names} at {listening.url}"])
        on_open(gateway)
        listen(gateway, listening)


def application(
    *scenarios: AnyScenario,
    keys: Mapping[str, Key] | None = None,
    settings: Settings = SETTINGS,
    out: str | Path | None = None,
) -> FastAPI:
    """What ``serve`` serves, for other servers of ASGI applications.

    Engines are opened now and closed when the application is shut down.

    Raises:
        InputError, EngineError: as ``serve``.
    """
    stack = ExitStack()
    with stack:
        works = [workspace_of(one, out) for one in scenarios]
        gateway = stack.enter_context(gateway_of(works, keys))
        return make_app(gateway, settings, stack.pop_all().close)


@contextmanager
def gateway_of(
    works: Sequence[Workspace],
    keys: Mapping[str, Key] | None = None,
    progress: Progress = SILENT,
    replans: bool = False,
) -> Iterator[Gateway]:
    """With the engines of all, which are closed in the end."""
    for work in works:
        _check_served(work, replans)
    plans = [(work, plan_of(work)) for work in works]
    with ExitStack() as stack:
        served = []
        for work, found in plans:
            opened = stack.enter_context(engines_of(work.scenario, progress))
            served.append(served_plan(work, found, opened.with_inputs_at_once().runtime))
            progress.say(stale_words(work, found))
        rates = {one.name: plan.reading_rate for one, (_, plan) in zip(served, plans, strict=True)}
        gateway = Gateway(served, Keys(keys), rates)
        for work, one in zip(works, served, strict=True) if replans else ():
            serve_plan = partial(served_plan, work, runtime=one.runtime)
            following(stack, work, gateway.service(one.name), replanned, serve_plan)
        yield gateway


def _check_served(work: Workspace, replans: bool) -> None:
    pipeline, spec = work.scenario.pipeline.build(), work.scenario.serve
    for one in pipeline.votes:
        raise ScenarioError(
            f"{work.scenario.name}: pipeline.agents.{one.name}.vote: cannot be served, as what a "
            "request may wish is wished of one model; 'staircase run' holds votes"
        )
    refused = {
        "serve.gate": (spec.gate, "it looks at what was said, and inputs say it later"),
        "serve.shows_drafts": (spec.shows_drafts, "what was shown might be taken back"),
        "--replan": (replans, "the clock of its inputs is its clients'"),
    }
    for key, (is_wanted, why) in refused.items():
        if pipeline.inputs and is_wanted:
            raise ScenarioError(
                f"{work.scenario.name}: {key}: not for a pipeline with inputs, as {why}"
            )


def replanned(work: Workspace, runs: Sequence[PlayedRun]) -> tuple[Plan, LatencyProfile]:
    """A plan by what ``runs`` took, and the latency profile that it rests on; both are kept.

    Raises:
        InputError: somebody else works in the folder, or no schedule keeps the plan's limits.
    """
    latency = corrected_latency(work, runs)
    with sole_use(work.folder, "serve"):
        save_latency(work.tuned_path, latency)
        return plan_with(work, latency), latency


def plan_of(work: Workspace) -> Plan:
    """The scenario's, checked against its pipeline.

    Raises:
        PlanError: there is none, or it is another pipeline's.
    """
    path = work.plan_path
    if not path.is_file():
        raise PlanError(f"{path}: no plan; make one with 'staircase plan SCENARIO'")
    found = load_plan(path)
    if found.scenario != work.scenario.name:
        raise PlanError(f"{path}: is of {found.scenario!r}, not of {work.scenario.name!r}")
    pipeline = work.scenario.pipeline.build()
    for number in {*found.front, found.chosen, found.normal}:
        try:
            found.candidates[number].schedule.check(pipeline)
        except ScheduleError as error:
            raise PlanError(f"{path}: {error}; plan again with 'staircase plan SCENARIO'") from None
    return found


def stale_words(work: Workspace, found: Plan) -> list[str]:
    """Where a plan rests on profiles that are not those that are there now."""
    now = work.profile_hashes()
    changed = [kind for kind, known in found.profile_hashes.items() if now.get(kind) != known]
    return [
        f"{work.plan_path}: rests on another {kind} profile than the one that is there now: its "
        "forecasts may be off; plan again with 'staircase plan SCENARIO'"
        for kind in changed
    ]


def served_plan(work: Workspace, found: Plan, runtime: Runtime) -> ServedPlan:
    spec, pipeline = work.scenario.serve, work.scenario.pipeline.build()

    def point(name: str, number: int) -> Point:
        candidate = found.candidates[number]
        return Point(name, pipeline, candidate.schedule, _forecast(candidate))

    chosen = point(CHOSEN, found.chosen)
    named = {CHOSEN: chosen, NORMAL: point(NORMAL, found.normal)}
    if pipeline.readers:
        named[SINGLE] = single_point(pipeline)
    shown = spread_out(found.front, MOST_POINTS)
    front = [point(f"front-{place}", number) for place, number in enumerate(shown, start=1)]
    cheaper = [point(f"cheaper-{n}", one) for n, one in enumerate(_cheaper(found), start=1)]
    return ServedPlan(
        work.scenario.name,
        runtime,
        named | {one.name: one for one in front},
        ladder_of([chosen, *cheaper]) if spec.adapts else [chosen],
        ServingLimits(spec.concurrency, spec.queue, spec.deadline_s, spec.inputs_s),
        _ends_s(found),
        _gate(spec.gate, work.source),
        spec.shows_drafts,
    )


def _forecast(candidate: Candidate) -> dict[str, float]:
    return {name: candidate.forecast[name].mean for name in FORECAST if name in candidate.forecast}


def _cheaper(found: Plan) -> tuple[int, ...]:
    """Of the front and ``normal``, those that cost less than the choice, dearest first."""

    def cost(number: int) -> float:
        return found.candidates[number].forecast[COST].mean

    if COST not in found.candidates[found.chosen].forecast:
        return ()
    less = {n for n in (*found.front, found.normal) if cost(n) < cost(found.chosen)}
    return spread_out(sorted(less, key=cost, reverse=True), MOST_CHEAPER)


def _ends_s(found: Plan) -> dict[str, float]:
    """By agent, when its text is there in the plan's timeline of reading everything first."""
    if found.explanation is None:
        return {}
    spans = found.explanation.timelines[NORMAL].spans
    return {span.agent: to_s(span.ended_ps) for span in spans}


def _gate(spec: GateSpec | None, folder: Path) -> Gate | None:
    if spec is None:
        return None
    pattern = re.compile(spec.matches) if spec.matches else None
    classifier = None
    if spec.classifier:
        key, call = "serve.gate.classifier", "(question), returning True for the single model"
        classifier = user_function(key, spec.classifier, folder, call)
    return Gate(spec.shorter_than, pattern, classifier)
