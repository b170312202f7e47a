"""Measured TTFT of a staircase over its physical bound, on one device.

    python -m benchmarks.ttft_bound [--rounds 60] [--chunk 8]

Three proposers and an aggregator (Llamas of 4 M random parameters, `benchmarks.in_process`) share
one CPU thread. Before the answer's first token that thread must compute every proposer's prefill
and first chunk, and then the aggregator's prefill of its prompt with those chunks. On devices of
their own the slowest proposer would count; on one it is the sum. The bound is that sum, each part
measured alone: bare forward passes of transformers, without engine, runtime or another thread.

For the serial engine the parts are a pass a token, every agent with weights of its own; for the
batching engine, in which the agents share one model, three rows that prefill and decode together.
Bound and staircase take turns in random order, because the machine may be noisy; the last column is
the ratio of the least TTFT to the least bound, when nothing else ran.
"""

from __future__ import annotations

import argparse
import random
import string
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from rich.console import Console
from rich.table import Table
from transformers import DynamicCache

from benchmarks.in_process import PROMPT, random_prompt, small_model, spread
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel
from executor.inprocess.transformers_engine import TransformersEngine
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from staircase import Pipeline, constant, moa, uniform
from staircase.timeline import to_s
from staircase.workload import Question

PROPOSERS, AGGREGATOR = ("a", "b", "c"), "z"
# Proposers write on beyond their first chunk while the aggregator reads it.
CHUNKS = 3
# Texts that do not grow are the query only.
FORM = PromptFormat(header="", query="{query}", label="", own="")


@dataclass(frozen=True)
class Sizes:
    """Tokens of what must be computed before the answer's first token."""

    chunk: int
    proposer_prompt: int
    aggregator_prompt: int


Bound = Callable[[Sizes, random.Random], float]


@dataclass
class Found:
    """Seconds, by round."""

    bound: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [m / b for m, b in zip(self.measured, self.bound, strict=True)]

    @property
    def least_ratio(self) -> float:
        return min(self.measured) / min(self.bound)


def pipeline(chunk: int) -> Pipeline:
    drawn = moa([list(PROPOSERS)], AGGREGATOR)
    agents = tuple(replace(agent, max_tokens=CHUNKS * chunk) for agent in drawn)
    return replace(drawn, agents=agents)


# The bound: each gives the seconds of what must be computed, part by part.


@torch.inference_mode()
def seconds_to_write(model: LoadedModel, prompts: Sequence[Sequence[int]], tokens: int) -> float:
    """Rows of equal length prefill and decode together, up to their token of number ``tokens``."""
    started = time.perf_counter()
    cache, pending = DynamicCache(), torch.tensor(prompts)
    for _ in range(tokens):
        output = model.network(
            input_ids=pending, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        pending = output.logits[:, -1].argmax(-1, keepdim=True)
        pending.tolist()
    return time.perf_counter() - started


def one_by_one(models: Sequence[LoadedModel]) -> Bound:
    def bound(sizes: Sizes, rng: random.Random) -> float:
        proposers = sum(
            seconds_to_write(model, [random_prompt(rng, sizes.proposer_prompt)], sizes.chunk)
            for model in models[:-1]
        )
        return proposers + prefill_s(models[-1], sizes, rng)

    return bound


def together(model: LoadedModel) -> Bound:
    def bound(sizes: Sizes, rng: random.Random) -> float:
        prompts = [random_prompt(rng, sizes.proposer_prompt) for _ in PROPOSERS]
        return seconds_to_write(model, prompts, sizes.chunk) + prefill_s(model, sizes, rng)

    return bound


def prefill_s(model: LoadedModel, sizes: Sizes, rng: random.Random) -> float:
    return seconds_to_write(model, [random_prompt(rng, sizes.aggregator_prompt)], 1)


# The staircase, measured.


def play(runtime: Runtime, chunk: int, rng: random.Random) -> Outcome:
    """A new question every time, so that no prompt is in a KV cache."""
    agents = pipeline(chunk)
    texts = {agent.name: "".join(rng.choices(string.ascii_letters, k=PROMPT)) for agent in agents}
    schedule = uniform(agents, constant(chunk, chunk, chunk))
    outcome = runtime.run([Job(agents, schedule, Question("", texts))])[0]
    assert outcome.timeline.error is None
    return outcome


def ttft_s(outcome: Outcome) -> float:
    return to_s(outcome.timeline.answer_ps[0] - outcome.timeline.arrival_ps)


def sizes_of(outcome: Outcome, chunk: int) -> Sizes:
    """As they were played."""
    first = {span.agent: span for span in reversed(outcome.timeline.spans)}
    assert first[AGGREGATOR].read == (chunk,) * len(PROPOSERS)
    prefilled = [first[name].prefilled_tokens for name in (*PROPOSERS, AGGREGATOR)]
    return Sizes(chunk, prefilled[0], prefilled[-1])


@contextmanager
def setups() -> Iterator[dict[str, tuple[Runtime, Bound]]]:
    models = [small_model(seed) for seed, _ in enumerate((*PROPOSERS, AGGREGATOR))]
    with Device() as serial_device, Device() as batching_device:
        serial = {
            name: ServedModel(TransformersEngine(model, serial_device), FORM)
            for name, model in zip((*PROPOSERS, AGGREGATOR), models, strict=True)
        }
        shared = ServedModel(BatchingEngine(models[0], batching_device, 4), FORM)
        yield {
            "serial": (Runtime(serial), one_by_one(models)),
            "batching": (
                Runtime(dict.fromkeys((*PROPOSERS, AGGREGATOR), shared)),
                together(models[0]),
            ),
        }


def measure(rounds: int, chunk: int) -> dict[str, Found]:
    rng = random.Random(0)
    with setups() as by_engine:
        # The first plays warm up, and tell what there is to compute; so does each one after.
        sizes = {
            name: sizes_of(play(runtime, chunk, rng), chunk)
            for name, (runtime, _) in by_engine.items()
        }
        parts = [(name, what) for name in by_engine for what in ("bound", "measured")]
        found = {name: Found() for name in by_engine}
        for _ in range(rounds):
            for name, what in rng.sample(parts, len(parts)):
                runtime, bound = by_engine[name]
                if what == "bound":
                    found[name].bound.append(bound(sizes[name], rng))
                    continue
                outcome = play(runtime, chunk, rng)
                # Two questions may begin with the same letter, which is then in the KV cache.
                sizes[name] = sizes_of(outcome, chunk)
                found[name].measured.append(ttft_s(outcome))
    return found


def table(found: dict[str, Found]) -> Table:
    shown = Table("engine", "bound, ms", "TTFT, ms", "TTFT / bound, target ≤ 1.05", "of the least")
    for name, some in found.items():
        shown.add_row(
            name,
            spread(some.bound, 1e3),
            spread(some.measured, 1e3),
            spread(some.ratios),
            f"{some.least_ratio:.3f}",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--chunk", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    Console(width=140).print(table(measure(options.rounds, options.chunk)))


if __name__ == "__main__":
    main()
