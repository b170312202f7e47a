"""How a small model's answers look as texts under several wordings of its prompt.

``python -m benchmarks.prompt_wordings [--requests 12]``: the proposers of ``examples/smollm2.yaml``
write their drafts once. Its editor reads them under ``normal`` and along a staircase, with rounds
in the prompt and without, under each wording. It needs the scenario's model (see there).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from executor.answer_text import text_faults
from executor.opened_engines import open_engines, read_dataset
from executor.replaying import replaying
from executor.runtime import Job, Outcome, Runtime
from executor.tokens.chat_template import INTRODUCTION, LABEL, REQUEST
from executor.tokens.rendering import Form, PromptFormat
from staircase import Schedule, constant, uniform
from staircase.metrics.text_faults import TextFaults
from staircase.pipeline import Agent, Pipeline
from staircase.spec.scenario import load_scenario
from staircase.workload import Question

SCENARIO = Path(__file__).parents[1] / "examples" / "smollm2.yaml"
OF_OTHERS = "Below are a question and what others wrote about it."


@dataclass(frozen=True)
class Wording:
    """A chat format with other words; ``label`` stands before each draft."""

    introduction: str
    label: str
    request: str
    base: Form | None = None

    def of(self, agent: Agent, earlier: int = 0) -> PromptFormat:
        assert self.base
        form = self.base.of(agent, earlier)
        if not agent.reads:
            return form
        return replace(
            form,
            header=form.header.replace(INTRODUCTION, self.introduction),
            label=form.label.replace(LABEL, self.label),
            own=form.own.replace(REQUEST, self.request),
        )


WORDINGS = {
    "names, “Draft of”": Wording(OF_OTHERS, "Draft of {source}:\n", "Your answer:"),
    "“Note:”": Wording(INTRODUCTION, "Note:\n", REQUEST),
    "a line": Wording(INTRODUCTION, LABEL, REQUEST),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=12)
    requests = parser.parse_args().requests
    table = Table("wording", "schedule", "leaks", "seams", "repetition", "words")
    scenario = load_scenario(SCENARIO)
    pipeline = scenario.pipeline.build()
    with open_engines(scenario) as opened:
        questions = read_dataset(scenario, SCENARIO.parent, requests, offset=0)
        drafts = opened.runtime.run([Job(pipeline, Schedule(), one) for one in questions])
        for words, wording in WORDINGS.items():
            for schedule, faults, outcomes in played(
                opened.runtime, pipeline, wording, questions, drafts
            ):
                table.add_row(words, schedule, *_cells(faults, outcomes, pipeline.answer))
    Console(width=110).print(table)


def played(
    runtime: Runtime,
    pipeline: Pipeline,
    wording: Wording,
    questions: Sequence[Question],
    drafts: Sequence[Outcome],
) -> Iterator[tuple[str, list[TextFaults], list[Outcome]]]:
    """By schedule."""
    with replaying(runtime, pipeline, drafts) as (recited, again):
        name = recited[recited.answer].engine
        served = again.served[name]
        worded = replace(served, form=replace(wording, base=served.form))
        again = again.serving({**again.served, name: worded})
        for words, schedule in schedules(recited).items():
            outcomes = again.run([Job(recited, schedule, one) for one in questions])
            pairs = zip(questions, outcomes, strict=True)
            yield words, [text_faults(recited, again.served, *pair) for pair in pairs], outcomes


def schedules(pipeline: Pipeline) -> dict[str, Schedule]:
    steps = constant(12, 12, 10)
    return {
        "normal": Schedule(),
        "constant:12,12,10, append_rounds": uniform(pipeline, steps, "append_rounds"),
        "constant:12,12,10, rebuild_query_first": uniform(pipeline, steps, "rebuild_query_first"),
    }


def _cells(faults: Sequence[TextFaults], outcomes: Sequence[Outcome], answer: str) -> list[str]:
    return [
        f"{sum(bool(one.leaks) for one in faults)} of {len(faults)}",
        f"{sum(bool(one.seams) for one in faults)} of {len(faults)}",
        f"{mean(one.repetition for one in faults):.2f}",
        f"{mean(len(one.texts[answer].split()) for one in outcomes):.0f}",
    ]


if __name__ == "__main__":
    main()
