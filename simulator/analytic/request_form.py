"""The closed form of a request, where its pipeline, schedule and engines have one."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.analytic.alone import AloneEngine
from simulator.analytic.closed_form import Answer, ClosedForm
from simulator.analytic.source_levels import SourceLevels, fixed_tokens, source_levels, source_ps
from simulator.des.batching import BatchingSetup
from simulator.engine import EngineSetup
from staircase.errors import ScheduleError, WorkloadError
from staircase.metrics.request_metrics import READING_RATE, reader_ps
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import header, nonce, own, query, turn
from staircase.schedule import Layout, Schedule
from staircase.workload import RequestShape


def closed_form(
    pipeline: Pipeline,
    schedule: Schedule,
    engines: Mapping[str, EngineSetup],
    request: RequestShape,
    reading_rate: float = READING_RATE,
) -> ClosedForm:
    """The closed form of a request; of ``schedule`` all but its staircases counts.

    Raises:
        ScheduleError: the pipeline, the options or the engines are not such as have one.
        WorkloadError: the request's lengths are not.
    """
    _check_options(schedule)
    _check_levels(pipeline)
    setups = {name: _checked_engine(pipeline, name, engines[name]) for name in pipeline.engines}
    _check_lengths(pipeline, request)
    reader = pipeline[pipeline.answer]
    agents = [pipeline[name] for name in reader.reads]
    there = [source_ps(agent, setups[agent.engine], request) for agent in agents]
    sources = source_levels(reader, agents, there, schedule.layout, request)
    return form_of(reader, sources, setups[reader.engine], schedule.layout, request, reading_rate)


def form_of(
    reader: Agent,
    sources: SourceLevels,
    setup: BatchingSetup,
    layout: Layout,
    request: RequestShape,
    reading_rate: float = READING_RATE,
) -> ClosedForm:
    """The form of one reading agent on an engine of its own."""
    answer = _make_answer(reader, layout, request)
    engine = AloneEngine.open(setup, _longest_text(reader, sources, request))
    return ClosedForm(answer, sources, engine, reader_ps(reading_rate))


def _check_options(schedule: Schedule) -> None:
    if schedule.is_timed or schedule.early_end != "accept" or schedule.without or schedule.checks:
        raise ScheduleError(
            "no closed form: needs barrier all, reading exact, starve wait, early_end accept, "
            "everybody asked, nothing checked"
        )


def _check_levels(pipeline: Pipeline) -> None:
    if pipeline.inputs:
        raise ScheduleError(f"no closed form: {pipeline.inputs[0].name!r} is an input")
    if pipeline.has_peers:
        raise ScheduleError("no closed form: agents have peers")
    if pipeline.votes:
        raise ScheduleError(f"no closed form: {pipeline.votes[0].name!r} votes")
    if pipeline.has_forks:
        raise ScheduleError("no closed form: items of a text start agents")
    sources = {agent.name for agent in pipeline if not agent.reads}
    if sources != set(pipeline[pipeline.answer].reads):
        raise ScheduleError(
            f"no closed form: {pipeline.answer!r} must be the only agent that reads others"
        )


def _checked_engine(pipeline: Pipeline, name: str, setup: EngineSetup) -> BatchingSetup:
    """The engine, if every one of its agents always finds an idle replica."""
    if not isinstance(setup, BatchingSetup):
        raise ScheduleError(f"no closed form: engine {name!r} is not of simulated replicas")
    if setup.device is not None:
        raise ScheduleError(f"no closed form: engine {name!r} shares device {setup.device!r}")
    agents = sum(agent.engine == name for agent in pipeline)
    caches = setup.limits.blocks is not None and setup.limits.prefix_caching
    # Calls on their way are not counted by routing, and another replica has another cache.
    if agents > 1 and (agents > setup.replicas or setup.call_ps or caches):
        raise ScheduleError(
            f"no closed form: {agents} agents on engine {name!r}; each needs an engine, or a "
            "replica with call_ps 0 and without prefix cache, of its own"
        )
    return setup


def _check_lengths(pipeline: Pipeline, request: RequestShape) -> None:
    if request.thinks:
        raise ScheduleError("no closed form: agents think before they write")
    for agent in pipeline:
        if agent.name not in request.output_tokens:
            raise WorkloadError(f"a request does not say how many tokens {agent.name!r} writes")
        if fixed_tokens(request, agent) < 1:
            raise WorkloadError(f"no closed form: the prompt of {agent.name!r} may be empty")
    if request.output_tokens[pipeline.answer] < 1:
        raise WorkloadError(f"no closed form: {pipeline.answer!r} writes nothing")


def _make_answer(agent: Agent, layout: Layout, request: RequestShape) -> Answer:
    name, tokens = agent.name, request.fixed_tokens
    return Answer(
        layout,
        tokens.get(header(name), 0) + tokens.get(nonce(name), 0),
        tokens.get(query(name), 0),
        tokens.get(own(name), 0),
        tokens.get(turn(name), 0),
        request.output_tokens[name],
        agent.max_tokens,
        request.ends_with == "stop",
    )


def _longest_text(reader: Agent, sources: SourceLevels, request: RequestShape) -> int:
    """Tokens that no prompt of the answer and what follows it exceeds, whatever the staircase."""
    written = min(request.output_tokens[reader.name], reader.max_tokens)
    # Every round that has labels shows something new, and every call but the last writes.
    rounds = min(sources.all_read, written + 1)
    between = (own(reader.name), turn(reader.name))
    labels = int(sources.new_labels[0]) + sum(request.fixed_tokens.get(name, 0) for name in between)
    read = int(sources.read_tokens[-1])
    return fixed_tokens(request, reader) + read + rounds * labels + written + 1
