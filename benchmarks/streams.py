"""Systems whose stages start on partial input: what they publish beside what is simulated.

    python -m benchmarks.streams

*Follows*: what is published gives the published figure. *Implied*: what the published figure needs,
which the facts at hand do not say; nothing is reproduced by that. docs/systems.md has the sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from benchmarks.systems import SystemRow
from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from staircase import Agent, Pipeline, RequestShape, Schedule, Workload, chain, constant, uniform
from staircase.metrics.request_metrics import RequestMetrics, measure
from staircase.pipeline import Arrival
from staircase.prompt import query
from staircase.timeline import to_ps

TOKENS = 16


def played(
    pipeline: Pipeline, schedule: Schedule, tokens: Mapping[str, int], itl_s: Mapping[str, float]
) -> RequestMetrics:
    """One request whose prompts cost nothing; a call's first token takes as long as any other."""
    agents = tuple(replace(agent, max_tokens=1 << 20) for agent in pipeline)
    engines = {name: EndpointSetup(to_ps(itl), to_ps(itl)) for name, itl in itl_s.items()}
    shape = RequestShape({query(name): 1 for name in engines}, tokens, "length")
    return measure(
        simulate(replace(pipeline, agents=agents), schedule, engines, Workload([shape]))[0]
    )


def stream_ma() -> Iterator[SystemRow]:
    """Agents in a row, each of which writes S steps and begins when the first of them is there."""
    for agents, steps, published in ((64, 64, 32.3), (16, 64, 13.0), (4, 64, 3.8)):
        pipeline = chain([f"agent {n}" for n in range(agents)])
        names = [agent.name for agent in pipeline]
        tokens, itl_s = dict.fromkeys(names, steps * TOKENS), dict.fromkeys(names, 0.01)
        whole = played(pipeline, Schedule(), tokens, itl_s).e2e_s
        in_steps = uniform(pipeline, constant(TOKENS, TOKENS, TOKENS))
        found = whole / played(pipeline, in_steps, tokens, itl_s).e2e_s
        words = f"bound with {agents} agents, {steps} steps: {published}x"
        yield SystemRow("StreamMA", words, f"{found:.1f}x", "follows")


def stream_ma_run() -> Iterator[SystemRow]:
    """The run that is printed: tokens and seconds of three agents, and 376 s in all."""
    pipeline, seconds = chain(["a", "b", "c"]), {"a": 123.3, "b": 308.7, "c": 221.1}
    tokens = {"a": 4084, "b": 10175, "c": 7197}
    itl_s = {name: seconds[name] / tokens[name] for name in tokens}
    serial_s = played(pipeline, Schedule(), tokens, itl_s).e2e_s

    def wall_s(steps: int) -> float:
        reads = {"b": -(-tokens["a"] // steps), "c": -(-tokens["b"] // steps)}
        writes = {name: -(-tokens[name] // steps) for name in reads}
        staircases = {n: constant(reads[n], reads[n], writes[n]) for n in reads}
        return played(pipeline, Schedule(staircases), tokens, itl_s).e2e_s

    steps = min(range(2, 40), key=lambda count: abs(wall_s(count) - 376))
    yield SystemRow("StreamMA", "one after the other: 653 s", f"{serial_s:.0f} s", "follows")
    words = f"{steps} steps of each agent: {wall_s(steps):.0f} s, {serial_s / wall_s(steps):.2f}x"
    yield SystemRow("StreamMA", "its run: 376 s, 1.74x", words, "implied")


def input_and(tokens_per_s: float, segment_tokens: int) -> Pipeline:
    arrival = Arrival(tokens_per_s, segment_tokens)
    return Pipeline((Agent("seen", arrival=arrival), Agent("z", reads=("seen",))), "z")


def speak_while_watching() -> Iterator[SystemRow]:
    """A video of 20 s at 5 tokens a second; speaking about it takes as long as seeing it."""
    pipeline, tokens, itl_s = input_and(5.0, 1), {"seen": 100, "z": 100}, {"z": 0.2}
    whole = played(pipeline, Schedule(), tokens, itl_s).e2e_s
    for piece in (10, 1):
        in_steps = uniform(pipeline, constant(piece, piece, piece))
        found = whole / played(pipeline, in_steps, tokens, itl_s).e2e_s
        words = f"{found:.2f}x in pieces of {piece / 5:g} s"
        yield SystemRow("Speak While Watching", "balanced: at most 2x", words, "follows")


def streaming_thinker() -> Iterator[SystemRow]:
    """Thinking begins with the first of n sentences in place of the last."""
    for sentences in (4, 5, 6):
        pipeline = input_and(5.0, TOKENS)
        tokens, itl_s = {"seen": sentences * TOKENS, "z": sentences * TOKENS}, {"z": 0.01}
        whole = played(pipeline, Schedule(), tokens, itl_s).ttft_s
        in_steps = uniform(pipeline, constant(TOKENS, TOKENS, TOKENS))
        found = played(pipeline, in_steps, tokens, itl_s).ttft_s / whole - 1
        words = f"{found:.0%} with {sentences} sentences"
        yield SystemRow("StreamingThinker", "wait before thinking: −80 %", words, "implied")


def live_mind() -> Iterator[SystemRow]:
    """What is left to write after the last word, as a share of what is written otherwise."""
    for published in (0.84, 0.716):
        words = f"{1 - published:.1%} of the tokens are written after the last word"
        yield SystemRow("LiveMind", f"latency −{published:.1%}", words, "implied")


SYSTEMS = (stream_ma, stream_ma_run, speak_while_watching, streaming_thinker, live_mind)


def main() -> None:
    table = Table("system", "published", "simulated", "how")
    for system in SYSTEMS:
        for row in system():
            table.add_row(*row.cells)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
