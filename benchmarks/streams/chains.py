"""StreamMA (2606.05158): agents in a row, each begins with the first step of the one before it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.streams.played import played, timeline_of
from benchmarks.streams.row import Forecast, Row, Said
from staircase import Schedule, chain, constant, uniform
from staircase.timeline import Timeline, to_s

STEP_TOKENS = 16
# The run that its repository prints: tokens and seconds of the three agents, four segments of the
# two that read, 190 tokens of the question.
TOKENS = {"a": 4084, "b": 10175, "c": 7197}
SECONDS = {"a": 123.3, "b": 308.74, "c": 221.08}
SEGMENTS = 4
QUESTION_TOKENS = 190


def speed_up(agents: int, steps: int, step_tokens: int) -> float:
    """Of steps that go on at once, over agents that wait for one another."""
    pipeline = chain([f"agent {n}" for n in range(agents)])
    names = [agent.name for agent in pipeline]
    tokens, itl_s = dict.fromkeys(names, steps * step_tokens), dict.fromkeys(names, 0.01)
    whole = played(pipeline, Schedule(), tokens, itl_s).e2e_s
    in_steps = uniform(pipeline, constant(step_tokens, step_tokens, step_tokens))
    return whole / played(pipeline, in_steps, tokens, itl_s).e2e_s


def bounds() -> Iterator[Row]:
    """What is measured stays below the bound: by what a step costs beside its tokens."""
    for agents, published, measured in ((64, 32.3, 26.9), (16, 13.0, 7.9), (4, 3.8, 2.2)):
        bound = speed_up(agents, 64, STEP_TOKENS)
        yield Forecast("StreamMA", f"bound, {agents} agents, 64 steps", published, bound, "x")
        found = f"a step's prompt costs {bound / measured - 1:.2f} of its writing"
        yield Said("StreamMA", f"{agents} agents, measured {measured}x", found)


def run_in_segments() -> Timeline:
    """Its run, with segments of equal length."""
    reads = {"b": -(-TOKENS["a"] // SEGMENTS), "c": -(-TOKENS["b"] // SEGMENTS)}
    writes = {name: -(-TOKENS[name] // SEGMENTS) for name in reads}
    steps = {name: constant(reads[name], reads[name], writes[name]) for name in reads}
    itl_s = {name: SECONDS[name] / TOKENS[name] for name in TOKENS}
    schedule = Schedule(steps, "interleave")
    return timeline_of(chain(list(TOKENS)), schedule, TOKENS, itl_s, QUESTION_TOKENS)


def run() -> Iterator[Row]:
    """Moments are those on the axis of the timeline that it prints."""
    timeline = run_in_segments()
    spans = {name: [span for span in timeline.spans if span.agent == name] for name in TOKENS}
    for what, published, ps in (
        ("its run, last token", 376.0, timeline.completed_ps),
        ("second agent begins", 40.0, spans["b"][0].started_ps),
        ("third agent begins", 98.0, spans["c"][0].started_ps),
        ("second agent ends", 353.1, spans["b"][-1].ended_ps),
    ):
        yield Forecast("StreamMA", what, published, to_s(ps), " s")
    for what, published, name in (("second", 30373, "b"), ("third", 42755, "c")):
        prompts = sum(span.prompt_tokens for span in spans[name])
        yield Forecast("StreamMA", f"prompts of the {what} agent", published, prompts, " tokens")


SYSTEMS = (bounds, run)
