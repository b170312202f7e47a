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
from pathlib import Path
from statistics import fmean, median

import torch
from rich.console import Console
from rich.table import Table
from transformers import DynamicCache

from executor.engine import CallReport, EngineCall
from executor.inprocess.device import Device
from executor.inprocess.guesses import Guesses
from executor.inprocess.models import LoadedModel
from executor.inprocess.next_logits import next_logits
from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.threads import computing_with
from executor.inprocess.transformers_engine import TransformersEngine
from executor.measure.call_recorder import CallRecorder
from executor.opened_engines import OpenedEngines, open_engines, read_dataset
from executor.prompts.as_read import as_read
from executor.runtime import Job
from staircase import Schedule
from staircase.spec.scenario import Scenario, load_scenario

EXAMPLE = Path(__file__).parents[1] / "examples" / "real" / "batched.yaml"
WIDTHS = (1, 2, 3, 5, 9, 17)
CONTEXT_TOKENS, PASSES = 384, 15
SETTINGS = [PromptLookup(tokens, ngram) for ngram in (1, 2, 3, 4) for tokens in (4, 8, 16)]


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


def passes(one: Written, lookup: PromptLookup, vocabulary_size: int) -> tuple[int, int]:
    """That the text takes with ``lookup``, and what they compute beside the tokens that stay."""
    call = EngineCall((0, 0), one.prompt, len(one.text))
    guesses, left, count, wrong = Guesses(call, lookup, vocabulary_size), list(one.text), 0, 0
    while left:
        guess = guesses.next(len(left) - 1)
        right = next((n for n, token in enumerate(guess) if token != left[n]), len(guess))
        for token in left[: right + 1]:
            guesses.add(token)
        del left[: right + 1]
        count, wrong = count + 1, wrong + len(guess) - right
    return count, wrong


@torch.inference_mode()
def pass_s(model: LoadedModel, width: int) -> float:
    """Median seconds of a pass of ``width`` tokens after ``CONTEXT_TOKENS``."""
    forward, cache = next_logits(model.network), DynamicCache()
    forward(1, input_ids=torch.ones(1, CONTEXT_TOKENS, dtype=torch.long), past_key_values=cache)
    taken = []
    for _ in range(PASSES):
        started = time.perf_counter()
        ids = torch.ones(1, width, dtype=torch.long)
        forward(width, input_ids=ids, past_key_values=cache, use_cache=True).argmax(-1)
        taken.append(time.perf_counter() - started)
        cache.crop(-width)
    return median(taken)


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
    """Decode time of each setting, by its passes and what one of its width costs, as a share."""
    table = Table("n-gram", "tokens", "tokens a pass", "wrong a pass", "decode time, by its passes")
    count = sum(len(one.text) for one in texts)
    token_s = (costs_s[WIDTHS[-1]] - costs_s[1]) / (WIDTHS[-1] - 1)
    for lookup in SETTINGS:
        found = [passes(one, lookup, model.vocabulary_size) for one in texts]
        all_passes, wrong = (sum(one[n] for one in found) for n in range(2))
        spent_s = all_passes * costs_s[1] + (wrong + count - all_passes) * token_s
        table.add_row(
            str(lookup.ngram),
            str(lookup.tokens),
            f"{count / all_passes:.2f}",
            f"{wrong / all_passes:.2f}",
            f"{spent_s / (count * costs_s[1]):.2f}",
        )
    return table


def widths(costs_s: dict[int, float]) -> Table:
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
        costs_s = {width: pass_s(model, width) for width in WIDTHS}
    console.print(gains(pairs), widths(costs_s))
    console.print(settings([plain for plain, _ in pairs], model, costs_s))


if __name__ == "__main__":
    main()
