"""Three proposers and an aggregator, all the same model, under several schedules."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np

from benchmarks.gpu.harness import Harness, Row
from benchmarks.gpu.shape import ModelShape
from executor.measure.call_recorder import serve
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from staircase import Pipeline, Schedule, moa, uniform
from staircase.metrics.request_metrics import measure
from staircase.schedule import Layout, parse_staircase
from staircase.timeline import Span, Timeline, to_s
from staircase.workload import Question

PROPOSERS, AGGREGATOR = ("anna", "boris", "clara"), "editor"
LAYOUTS: tuple[Layout, ...] = ("append_rounds", "interleave")
FORM = PromptFormat(header="")
METRICS = ("ttft_s", "tpot_s", "e2e_s", "stall_s")

# By deployment, the agents of each engine; engines of a deployment take turns on the device.
DEPLOYMENTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "apart": {"proposers": PROPOSERS, "aggregator": (AGGREGATOR,)},
    "together": {"all": (*PROPOSERS, AGGREGATOR)},
}


@dataclass(frozen=True)
class Variant:
    """A schedule in words."""

    staircase: str
    layout: Layout

    def schedule(self, pipeline: Pipeline) -> Schedule:
        return uniform(pipeline, parse_staircase(self.staircase), self.layout)


def variants_of(shape: ModelShape) -> list[Variant]:
    """Normal first; for it the layouts are the same."""
    drawn = [Variant(words, layout) for words in shape.staircases for layout in LAYOUTS]
    return [Variant("normal", LAYOUTS[0]), *drawn]


def pipeline_of(shape: ModelShape, deployment: str) -> Pipeline:
    engine_of = {
        agent: engine for engine, agents in DEPLOYMENTS[deployment].items() for agent in agents
    }
    drawn = moa([PROPOSERS], AGGREGATOR)
    return replace(
        drawn,
        agents=tuple(
            replace(agent, engine=engine_of[agent.name], max_tokens=shape.written_tokens)
            for agent in drawn
        ),
    )


def apart(harness: Harness) -> Iterator[Row]:
    """An engine for the proposers and one for the aggregator."""
    return _played(harness, "apart")


def together(harness: Harness) -> Iterator[Row]:
    """One engine that batches all four."""
    return _played(harness, "together")


def _played(harness: Harness, deployment: str) -> Iterator[Row]:
    """Every variant in turn, each time on a new question, so that no prompt is cached before."""
    pipeline, variants = pipeline_of(harness.shape, deployment), variants_of(harness.shape)
    with _runtime(harness, deployment) as runtime:
        # The least and the most steps: what they capture and warm up serves the others.
        for variant in variants[:2]:
            _play(harness, runtime, pipeline, variant)
        for number in range(harness.requests):
            for variant in harness.rng.sample(variants, len(variants)):
                outcome = _play(harness, runtime, pipeline, variant)
                yield {"deployment": deployment, **asdict(variant), "round": number} | _row(outcome)


@contextmanager
def _runtime(harness: Harness, deployment: str) -> Iterator[Runtime]:
    agents = DEPLOYMENTS[deployment]
    longest = harness.shape.query_tokens + (len(PROPOSERS) + 2) * harness.shape.written_tokens
    with harness.engines(*map(len, agents.values())) as engines:
        for engine in engines:
            # Room for the longest prompt from the beginning: graphs are captured anew after a move.
            serve(engine, [harness.prompt(longest)], 1)
        served = [ServedModel(engine, FORM) for engine in engines]
        yield Runtime(dict(zip(agents, served, strict=True)))


def _play(harness: Harness, runtime: Runtime, pipeline: Pipeline, variant: Variant) -> Outcome:
    letters = harness.rng.choices(string.ascii_lowercase, k=harness.shape.query_tokens)
    job = Job(pipeline, variant.schedule(pipeline), Question("".join(letters)))
    outcome = runtime.run([job])[0]
    if outcome.timeline.error:
        raise RuntimeError(outcome.timeline.error)
    return outcome


def _row(outcome: Outcome) -> Row:
    """Times are counted from the request's arrival."""
    timeline, measured = outcome.timeline, asdict(measure(outcome.timeline))
    return {
        **measured,
        "written": dict(timeline.written),
        "answer_s": [_since(timeline, ps) for ps in timeline.answer_ps],
        "spans": [_span_row(timeline, span) for span in timeline.spans],
    }


def _span_row(timeline: Timeline, span: Span) -> Row:
    numbers = asdict(span)
    times = {name: numbers.pop(name) for name in list(numbers) if name.endswith("_ps")}
    busy_ps = times.pop("busy_ps")
    seconds = {
        name.replace("_ps", "_s"): None if ps is None else _since(timeline, ps)
        for name, ps in times.items()
    }
    return {**numbers, **seconds, "busy_s": to_s(busy_ps)}


def _since(timeline: Timeline, ps: int) -> float:
    return round(to_s(ps - timeline.arrival_ps), 6)


def medians(rows: Sequence[Row]) -> dict[tuple[str, str, str], dict[str, float]]:
    """By deployment, staircase and layout: the median of each metric, and how many there are."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["deployment"], row["staircase"], row["layout"]), []).append(row)
    return {
        key: {
            "requests": len(some),
            **{name: float(np.median([row[name] for row in some])) for name in METRICS},
        }
        for key, some in found.items()
    }
