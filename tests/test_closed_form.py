"""The closed form of a request alone is the simulation, to the picosecond."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from simulator.analytic import closed_form as closed_form_module
from simulator.analytic.candidates import Candidates, candidates_of, constant_candidates
from simulator.analytic.closed_form import AloneTimes
from simulator.analytic.request_form import closed_form
from simulator.compiled.play import play_compiled
from simulator.core.cost import linear_cost
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.engine import EngineSetup
from simulator.unread import unread_of_timeline
from staircase import (
    Agent,
    Barrier,
    Pipeline,
    RequestShape,
    Schedule,
    Staircase,
    Workload,
    chain,
    constant,
    explicit,
    geometric,
    moa,
    normal,
    single,
)
from staircase.errors import ScheduleError, WorkloadError
from staircase.metrics.request_metrics import measure
from staircase.schedule import LAYOUTS, Layout, Step
from staircase.timeline import PS_PER_S, Timeline
from tests.support.prompt_texts import fixed_names
from tests.support.random_cases import random_cost

FEW_CASES, CASES, STAIRCASES = 40, 160, 6


@dataclass(frozen=True)
class Alone:
    """A request alone on its engines, and how its answer may read."""

    pipeline: Pipeline
    layout: Layout
    setups: dict[str, EngineSetup]
    request: RequestShape
    staircases: list[Staircase]

    def schedule(self, staircase: Staircase) -> Schedule:
        return Schedule({"z": staircase}, self.layout)

    def line(self, staircase: Staircase, is_compiled: bool = True) -> Timeline:
        """As the event loop plays it."""
        schedule, workload = self.schedule(staircase), Workload([self.request])
        if not is_compiled:
            return simulate(self.pipeline, schedule, self.setups, workload)[0]
        played = play_compiled(self.pipeline, schedule, self.setups, workload, keeps_all_times=True)
        assert played is not None
        return played.timelines()[0]

    def unread(self, line: Timeline) -> float:
        return unread_of_timeline(self.pipeline, Schedule(), line, self.request)

    def times(self, candidates: Candidates) -> AloneTimes:
        schedule = Schedule(layout=self.layout)
        form = closed_form(self.pipeline, schedule, self.setups, self.request)
        return form.play(candidates, keeps_steps=True)


def random_alone(seed: int) -> Alone:
    rng = random.Random(seed)
    drawn = moa([["a", "b", "c"][: rng.randint(1, 3)]], "z")
    is_shared = rng.random() < 0.2
    agents = [
        replace(agent, engine="e" if is_shared else "", max_tokens=rng.randint(1, 40))
        for agent in drawn
    ]
    pipeline = Pipeline(tuple(agents), "z")
    names = [name for agent in agents for name in fixed_names(agent.name, agent.reads)]
    request = RequestShape(
        {name: rng.choice([0, 1, 3, 8, 13]) for name in names}
        | {f"query/{agent.name}": rng.randint(1, 12) for agent in agents},
        {agent.name: rng.randint(0, 40) for agent in agents} | {"z": rng.randint(1, 40)},
        rng.choice(["stop", "length"]),
    )
    setups = {name: random_setup(rng, is_shared) for name in pipeline.engines}
    staircases = [random_staircase(rng) for _ in range(STAIRCASES)]
    case = Alone(pipeline, rng.choice(LAYOUTS), setups, request, staircases)
    return case if is_shared else with_kv(case, rng)


def random_setup(rng: random.Random, is_shared: bool) -> EngineSetup:
    limits = Limits(rng.choice([1, 3, 8, 64]), rng.choice([1, 2, 8]))
    call_ps = 0 if is_shared else rng.choice([0, 0, 1, 150])
    replicas = 4 if is_shared else rng.choice([1, 1, 2])
    routing = rng.choice(["least", "affine"])
    return BatchingSetup(random_cost(rng), limits, replicas, routing, call_ps=call_ps)  # type: ignore[arg-type]


def with_kv(case: Alone, rng: random.Random) -> Alone:
    """Blocks that just hold the longest call, or more, or no limit; cached or not."""
    lines = [case.line(staircase) for staircase in case.staircases]
    setups: dict[str, EngineSetup] = {}
    for name, setup in case.setups.items():
        assert isinstance(setup, BatchingSetup)
        size = rng.choice([1, 2, 4, 7])
        spans = [span for line in lines for span in line.spans if span.engine == name]
        wanted = max(span.prompt_tokens for span in spans) + case.pipeline[name].max_tokens
        few = -(-wanted // size) + rng.choice([0, 0, 1, 3, 50])
        limits = replace(
            setup.limits,
            blocks=rng.choice([None, few, few]),
            block_tokens=size,
            prefix_caching=rng.random() < 0.8,
        )
        setups[name] = replace(setup, limits=limits)
    return replace(case, setups=setups)


def random_staircase(rng: random.Random) -> Staircase:
    few = [1, 2, 3, 5, 8, 16]
    return rng.choice(
        [
            normal(),
            constant(rng.choice([0, *few]), rng.choice(few), rng.choice(few)),
            constant(rng.choice(few), rng.choice(few), rng.choice(few), rng.choice(few)),
            geometric(rng.choice(few), 1.5, 16, rng.choice(few)),
            explicit([(0, 1), (rng.choice(few), 2), (16, None), (40, 3)]),
            explicit([(rng.choice(few), rng.choice(few))] * rng.randint(1, 3) + [(None, 1)]),
            Staircase((Step(5, 2), Step(5, 3), Step(None, 4)), Step(3, 3)),
            Staircase((), Step(rng.choice(few), rng.choice(few))),
        ]
    )


def check(times: AloneTimes, row: int, line: Timeline) -> None:
    """The candidate's times are the timeline's."""
    assert times.start_ps is not None
    assert times.end_ps is not None
    spans = [span for span in line.spans if span.agent == "z"]
    assert times.calls[row] == len(spans)
    assert times.start_ps[row, : len(spans)].tolist() == [span.submitted_ps for span in spans]
    assert times.end_ps[row, : len(spans)].tolist() == [span.ended_ps for span in spans]
    assert set(times.end_ps[row, len(spans) :].tolist()) <= {-1}
    assert times.ttft_ps[row] == line.answer_ps[0]
    assert times.e2e_ps[row] == line.answer_ps[-1]
    assert times.completed_ps[row] == line.completed_ps
    assert times.prefilled_tokens[row] == sum(span.prefilled_tokens for span in line.spans)
    assert times.smooth_start_ps[row] == round(measure(line).smooth_start_s * PS_PER_S)


def notes(lines: Sequence[Timeline], layout: Layout) -> Counter[str]:
    """What the cases meet, to know that they meet it."""
    spans = [span for line in lines for span in line.spans if span.agent == "z"]
    seen = Counter({"steps": len(spans), layout: 1})
    seen["cached " + layout] = sum(span.cached_tokens for span in spans)
    seen["only ends"] = sum(span.output_tokens == 0 for span in spans)
    seen["ended before all was read"] = sum(
        any(span.reason == "cancelled" for span in line.spans) for line in lines
    )
    return seen


@pytest.mark.parametrize("cases", [FEW_CASES, pytest.param(CASES, marks=pytest.mark.slow)])
def test_random_cases_are_the_simulation(cases: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(cases):
        case = random_alone(seed)
        times = case.times(candidates_of(case.staircases))
        lines = [case.line(staircase) for staircase in case.staircases]
        for row, line in enumerate(lines):
            try:
                check(times, row, line)
                assert times.unread[row] == pytest.approx(case.unread(line), abs=1e-9)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, {case.staircases[row]}: {error}") from error
        seen += notes(lines, case.layout)
    assert all(seen[layout] and seen[f"cached {layout}"] for layout in LAYOUTS)
    assert min(seen["only ends"], seen["ended before all was read"]) > 0
    assert seen["steps"] > 2 * cases * STAIRCASES


@pytest.mark.parametrize("seed", range(CASES, CASES + 10))
def test_the_simulation_on_simpy_says_the_same(seed: int) -> None:
    case = random_alone(seed)
    times = case.times(candidates_of(case.staircases))
    for row, staircase in enumerate(case.staircases):
        check(times, row, case.line(staircase, is_compiled=False))


def test_many_at_once_are_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form_module, "SLICE", 7)
    case = random_alone(3)
    rng = np.random.default_rng(0)
    first, chunk, write = rng.integers(1, 20, (3, 50))
    together = case.times(constant_candidates(first, chunk, write))
    for row in range(50):
        one = constant(int(first[row]), int(chunk[row]), int(write[row]))
        alone = case.times(candidates_of([one]))
        for name in ("ttft_ps", "e2e_ps", "completed_ps", "calls", "prefilled_tokens"):
            assert getattr(together, name)[row] == getattr(alone, name)[0]


def plain(agents: Pipeline | None = None, blocks: int | None = None) -> Alone:
    """Three sources of 20 tokens and an answer of 20."""
    pipeline = agents or moa([["a", "b", "c"]], "z")
    cost = linear_cost(
        iteration_s=0.01,
        token_s=1e-4,
        sequence_s=1e-4,
        context_s=1e-7,
        max_tokens=64,
        max_sequences=4,
    )
    setup = BatchingSetup(cost, Limits(64, 4, blocks))
    request = RequestShape(
        {f"query/{agent.name}": 10 for agent in pipeline}, {agent.name: 20 for agent in pipeline}
    )
    setups: dict[str, EngineSetup] = dict.fromkeys(pipeline.engines, setup)
    return Alone(pipeline, "append_rounds", setups, request, [])


def test_earlier_steps_mean_an_earlier_first_token() -> None:
    times = plain().times(constant_candidates([4, 8, 16], 8, 8))
    assert times.ttft_ps.tolist() == sorted(set(times.ttft_ps.tolist()))


@pytest.mark.parametrize(
    "options",
    [
        {"barrier": Barrier("quorum", 2)},
        {"reading": "latest"},
        {"starve": "write"},
        {"early_end": "continue"},
    ],
)
def test_options_that_depend_on_the_clock_are_refused(options: dict[str, object]) -> None:
    case = plain()
    schedule = Schedule(**options)  # type: ignore[arg-type]
    with pytest.raises(ScheduleError, match="barrier all, reading exact, starve wait"):
        closed_form(case.pipeline, schedule, case.setups, case.request)


@pytest.mark.parametrize("pipeline", [single("z"), chain(["a", "b", "z"])])
def test_other_pipelines_are_refused(pipeline: Pipeline) -> None:
    with pytest.raises(ScheduleError, match="'z' must be the only agent that reads"):
        plain(pipeline).times(candidates_of([normal()]))


def test_shared_engines_are_refused() -> None:
    agents = Agent("a", "one"), Agent("b", "two"), Agent("z", "one", ("a", "b"))
    with pytest.raises(ScheduleError, match="2 agents on engine 'one'"):
        plain(Pipeline(agents, "z")).times(candidates_of([normal()]))


def test_engines_of_other_kinds_are_refused() -> None:
    case = plain()
    setups = case.setups | {"a": SerialSetup(None)}  # type: ignore[arg-type]
    with pytest.raises(ScheduleError, match="engine 'a' is not of simulated replicas"):
        replace(case, setups=setups).times(candidates_of([normal()]))


def test_calls_too_long_for_the_kv_are_refused() -> None:
    with pytest.raises(WorkloadError, match="'a' needs KV for 30 tokens"):
        plain(blocks=1).times(candidates_of([normal()]))
    with pytest.raises(ScheduleError, match="candidate 1: a call of the answer needs KV for 90"):
        plain(blocks=5).times(candidates_of([constant(4, 4, 20), normal()]))


def test_requests_without_lengths_are_refused() -> None:
    case = plain()
    for lengths, message in (
        ({"a": 5, "b": 5, "z": 5}, "how many tokens 'c' writes"),
        ({"a": 5, "b": 5, "c": 5, "z": 0}, "'z' writes nothing"),
    ):
        request = replace(case.request, output_tokens=lengths)
        with pytest.raises(WorkloadError, match=message):
            replace(case, request=request).times(candidates_of([normal()]))
    with pytest.raises(WorkloadError, match="the prompt of 'a' may be empty"):
        replace(case, request=replace(case.request, fixed_tokens={})).times(
            candidates_of([normal()])
        )


@pytest.mark.parametrize(
    ("first", "chunk", "write", "message"),
    [
        ([8, -1], 8, 8, "candidate 1 unreads"),
        (8, [8, 8, 0], 8, "candidate 2 stands still"),
        (8, 8, 0, "candidate 0 has a step that writes less"),
    ],
)
def test_candidates_that_are_no_staircases_are_refused(
    first: int | list[int], chunk: int | list[int], write: int, message: str
) -> None:
    with pytest.raises(ScheduleError, match=message):
        constant_candidates(first, chunk, write)


def test_candidates_need_a_step() -> None:
    none = np.zeros((2, 0), dtype=np.int64)
    with pytest.raises(ScheduleError, match=r"must be \[candidates, steps\]"):
        Candidates(none, none, np.ones(2, dtype=np.int64), np.ones(2, dtype=np.int64))
