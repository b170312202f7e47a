"""What prompt lookup gains where an editor writes one answer from three drafts of a real model.

    python -m benchmarks.guesses [--questions 8] [--scenario SCENARIO]

The models of ``examples/real/batched.yaml`` on one device: three drafts are sampled in a batch, and
the editor writes from all of them, greedily, with and without guesses in turn. Its texts are then
looked up again with other settings, which cost passes and no model; and a pass of several tokens is
timed, to see what a guess that is wrong costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import DynamicCache

from executor.engine import CallReport, EngineCall
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel
from executor.inprocess.next_logits import next_logits
from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.threads import computing_with
from executor.inprocess.transformers_engine import TransformersEngine
from executor.measure.call_recorder import CallRecorder
from executor.measure.guessed_passes import passes_of
from executor.opened_engines import OpenedEngines, open_engines, read_dataset
from executor.prompts.as_read import as_read
from executor.runtime import Job
from staircase import Schedule
from staircase.spec.scenario import Scenario, load_scenario

EXAMPLE = Path(__file__).parents[1] / "examples" / "real" / "batched.yaml"
WIDTHS = (1, 2, 3, 5, 9, 13, 17)
CONTEXT_TOKENS, ROUNDS = 384, 15
SETTINGS = [PromptLookup(tokens, 4, least) for least in (1, 2, 3, 4) for tokens in (4, 8, 12, 16)]


@dataclass(frozen=True)
class Written:
    """One answer: the editor's prompt, its text, when its last token was there, its passes."""

    prompt: list[int]
    text: list[int]
    last_s: float
    report: CallReport


def here(scenario: Scenario) -> Scenario:
    """With all its engines in this process."""
    engines = {
        name: spec.model_copy(update={"device": "cpu"}) for name, spec in scenario.real.items()
    }
    return scenario.model_copy(update={"engines": engines})


def prompts(scenario: Scenario, opened: OpenedEngines, folder: Path, count: int) -> list[list[int]]:
    """What the agent that answers reads, when it reads all that its sources wrote."""
    pipeline = scenario.pipeline.build()
    questions = read_dataset(scenario, folder, count, 0)
    outcomes = opened.runtime.run([Job(pipeline, Schedule(), one) for one in questions])
    engines = {agent.name: opened.engines[agent.engine] for agent in pipeline}
    found = []
    for outcome in outcomes:
        call = next(call for call in outcome.calls if call.agent == pipeline.answer)
        read = as_read(engines, call.agent, call.prompt, outcome.ids)
        found.append([token for _, tokens in read for token in tokens])
    return found


def answers(
    model: LoadedModel, asked: Sequence[list[int]], tokens: int
) -> Iterator[tuple[Written, Written]]:
    """Of each prompt, without guesses and with."""
    with Device() as device:
        engines = [
            TransformersEngine(model, device, lookup=lookup) for lookup in (None, PromptLookup())
        ]
        for prompt in asked:
            plain, guessed = (written(engine, prompt, tokens) for engine in engines)
            yield plain, guessed


def written(engine: TransformersEngine, prompt: list[int], tokens: int) -> Written:
    """Of a request of its own, which finds nothing in the cache."""
    recorder, key = CallRecorder(1), (0, 0)
    started = time.perf_counter_ns()
    engine.submit(EngineCall(key, prompt, tokens, owner=str(started)), recorder)
    recorder.wait()
    last_s = (recorder.times_ns[0][-1] - started) / 1e9
    return Written(prompt, recorder.tokens[0], last_s, recorder.reports[0])


def widths(one: Written, lookup: PromptLookup, vocabulary_size: int) -> list[int]:
    """How wide the passes are that the text takes with ``lookup``."""
    call = EngineCall((0, 0), one.prompt, len(one.text))
    return [found.computed for found in passes_of(call, one.text, lookup, vocabulary_size)]


@torch.inference_mode()
def pass_costs_s(
    model: LoadedModel, widths: Sequence[int] = WIDTHS, rounds: int = ROUNDS
) -> dict[int, float]:
    """Median seconds of a pass after ``CONTEXT_TOKENS``, by its tokens; they take turns."""
    forward, cache = next_logits(model.network), DynamicCache()
    forward(1, input_ids=torch.ones(1, CONTEXT_TOKENS, dtype=torch.long), past_key_values=cache)
    taken: dict[int, list[float]] = {width: [] for width in widths}
    for _, (width, found) in product(range(rounds), taken.items()):
        ids = torch.ones(1, width, dtype=torch.long)
        started = time.perf_counter()
        forward(width, input_ids=ids, past_key_values=cache, use_cache=True).argmax(-1)
        found.append(time.perf_counter() - started)
        cache.crop(-width)
    return {width: median(found) for width, found in taken.items()}


def gains(pairs: Sequence[tuple[Written, Written]]) -> Table:
    table = Table("answer", "tokens", "passes", "last token s", "without", "share", "same text")
    for number, (plain, guessed) in enumerate(pairs):
        same = "yes" if plain.text == guessed.text else "no"
        counts = str(len(plain.text)), str(guessed.report.passes)
        table.add_row(str(number), *counts, *_times(plain.last_s, guessed.last_s), same)
    counts = (
        str(sum(len(one.text) for one, _ in pairs)),
        str(sum(p.report.passes for _, p in pairs)),
    )
    plain_s, guessed_s = (fmean(pair[n].last_s for pair in pairs) for n in range(2))
    table.add_row("all", *counts, *_times(plain_s, guessed_s))
    return table


def _times(plain_s: float, guessed_s: float) -> tuple[str, str, str]:
    return f"{guessed_s:.2f}", f"{plain_s:.2f}", f"{guessed_s / plain_s:.2f}"


def settings(texts: Sequence[Written], model: LoadedModel, costs_s: dict[int, float]) -> Table:
    """What each would take: its passes, each at what one so wide costs."""
    table = Table("n-grams from", "to", "tokens", "tokens a pass", "time of those without")
    count = sum(len(one.text) for one in texts)
    for lookup in SETTINGS:
        each = [width for one in texts for width in widths(one, lookup, model.vocabulary_size)]
        spent_s = sum(np.interp(each, list(costs_s), list(costs_s.values())))
        table.add_row(
            *map(str, (lookup.min_ngram, lookup.ngram, lookup.tokens)),
            f"{count / len(each):.2f}",
            f"{spent_s / (count * costs_s[1]):.2f}",
        )
    return table


def costs(costs_s: dict[int, float]) -> Table:
    """How many tokens of a guess must be right on average for a pass of it to gain."""
    table = Table("tokens in a pass", "ms", "times one token's", "pays from so many right")
    for width, taken_s in costs_s.items():
        ratio = taken_s / costs_s[1]
        table.add_row(str(width), f"{taken_s * 1000:.1f}", f"{ratio:.2f}", f"{ratio - 1:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--scenario", type=Path, default=EXAMPLE)
    arguments = parser.parse_args()
    scenario, console = here(load_scenario(arguments.scenario)), Console(width=100)
    answering = scenario.pipeline.build()[scenario.pipeline.build().answer]
    with open_engines(scenario) as opened:
        model = opened.models[answering.engine]
        asked = prompts(scenario, opened, arguments.scenario.parent, arguments.questions)
    pairs = list(answers(model, asked, answering.max_tokens))
    with computing_with(model.threads):
        costs_s = pass_costs_s(model)
    console.print(gains(pairs), costs(costs_s))
    console.print(settings([plain for plain, _ in pairs], model, costs_s))


if __name__ == "__main__":
    main()
