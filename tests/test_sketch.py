"""Sketches of many schedules: exact where a request is alone, and of what is unread anywhere."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from simulator.analytic.sketch import sketch_of
from simulator.core.cost import linear_cost
from simulator.des.batching import BatchingSetup
from simulator.des.endpoint import EndpointSetup
from simulator.des.limits import Limits
from simulator.engine import EngineSetup
from simulator.run import run_workload
from staircase import (
    Pipeline,
    RequestShape,
    Schedule,
    Staircase,
    Workload,
    chain,
    constant,
    debate,
    geometric,
    moa,
    normal,
    single,
)
from staircase.schedule import LAYOUTS, proposers_of
from staircase.timeline import to_ps
from tests.support.prompt_texts import fixed_names

COST = linear_cost(
    iteration_s=0.01, token_s=1e-4, sequence_s=1e-3, context_s=1e-7, max_tokens=64, max_sequences=8
)
SETUP = BatchingSetup(COST, Limits(64, 8, 4096), call_ps=to_ps(0.02))


def shape(pipeline: Pipeline, rng: random.Random) -> RequestShape:
    names = [name for agent in pipeline for name in fixed_names(agent.name, agent.reads)]
    fixed = {name: rng.randint(1, 9) for name in names}
    return RequestShape(fixed, {agent.name: rng.randint(5, 60) for agent in pipeline})


def staircase(rng: random.Random) -> Staircase:
    first, chunk, write = (rng.choice([2, 5, 8, 16]) for _ in range(3))
    return rng.choice(
        [normal(), constant(first, chunk, write), geometric(first, 1.5, 2 * first, write)]
    )


def schedules(pipeline: Pipeline, rng: random.Random, count: int) -> list[Schedule]:
    has_spare = all(len(agent.reads) > 1 for agent in pipeline.readers)
    able = [(), tuple(proposers_of(pipeline)[:1])] if has_spare else [()]
    return [
        Schedule(
            {a.name: staircase(rng) for a in pipeline.readers},
            rng.choice(LAYOUTS),
            without=rng.choice(able),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "pipeline",
    [moa([["a", "b"]], "z"), moa([["a", "b"], ["c", "d"]], "z"), chain(["a", "b", "c", "z"])],
)
def test_one_request_alone_is_the_simulation(pipeline: Pipeline, seed: int) -> None:
    rng = random.Random(seed)
    tried, workload = schedules(pipeline, rng, 8), Workload([shape(pipeline, rng)])
    engines: dict[str, EngineSetup] = dict.fromkeys(pipeline.engines, SETUP)
    sketch = sketch_of(pipeline, engines, workload)
    assert sketch
    figures = sketch.of(tried)
    for place, schedule in enumerate(tried):
        run = run_workload(pipeline, schedule, engines, workload)
        for name in ("ttft_s", "smooth_start_s", "e2e_s", "tpot_s", "stall_s"):
            assert figures[name][place] == pytest.approx(run.measured.columns[name][0], abs=1e-9)
        assert figures["unread"][place] == pytest.approx(run.unread[0], abs=1e-12)


@pytest.mark.parametrize("pipeline", [moa([["a", "b"], ["c"]], "z"), debate(["a", "b"], 2, "z")])
def test_what_is_unread_depends_on_no_clock(pipeline: Pipeline) -> None:
    rng = random.Random(1)
    tried = schedules(pipeline, rng, 8)
    workload = Workload([shape(pipeline, rng) for _ in range(5)], concurrency=3)
    engines: dict[str, EngineSetup] = dict.fromkeys(pipeline.engines, SETUP)
    sketch = sketch_of(pipeline, engines, workload)
    assert sketch
    figures = replace(sketch, requests=workload.requests).of(tried)
    for place, schedule in enumerate(tried):
        run = run_workload(pipeline, schedule, engines, workload)
        assert figures["unread"][place] == pytest.approx(np.mean(run.unread), abs=1e-12)


def test_few_requests_stand_for_all() -> None:
    pipeline, rng = moa([["a", "b"]], "z"), random.Random(2)
    workload = Workload([shape(pipeline, rng) for _ in range(50)])
    sketch = sketch_of(pipeline, dict.fromkeys(pipeline.engines, SETUP), workload)
    assert sketch
    totals = [sum(request.output_tokens.values()) for request in sketch.requests]
    every = [sum(request.output_tokens.values()) for request in workload.requests]
    assert totals == sorted(totals)
    assert sum(totals) / len(totals) == pytest.approx(sum(every) / len(every), rel=0.1)


def test_there_is_none_of_endpoints_or_of_one_agent() -> None:
    pipeline, rng = moa([["a"]], "z"), random.Random(3)
    endpoint: EngineSetup = EndpointSetup(ttft_ps=1, itl_ps=1)
    workload = Workload([shape(pipeline, rng)])
    assert sketch_of(pipeline, {"a": SETUP, "z": endpoint}, workload) is None
    alone = single("z")
    assert sketch_of(alone, {"z": SETUP}, Workload([shape(alone, rng)])) is None
