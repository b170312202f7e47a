"""Are texts what they would be without guesses, and of checks what full reading writes?

    python -m benchmarks.same_texts [--embedded 200] [--real 24] [--tokens 48]

Bulletin desks of the embedded models, and the models of ``examples/smollm2.yaml``, whose proposers
sample. Each is played with one call at a time and with slots: reading all first, with guesses that
are looked up in prompts; and in steps that are checked until all is read. The answers are set
beside those of reading all first without any, token by token.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from executor.opened_engines import open_engines, read_dataset
from executor.runtime import Job, Outcome
from staircase import Schedule, constant, normal, uniform
from staircase.pipeline import Pipeline
from staircase.spec.scenario import Scenario, load_scenario
from staircase.spec.strict import changed_spec

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "tests" / "support" / "desk.yaml"
REAL = ROOT / "examples" / "smollm2.yaml"
SLOTS = 12


def variants(pipeline: Pipeline) -> Iterator[tuple[str, bool, Schedule]]:
    whole = uniform(pipeline, normal(), "rebuild_query_first")
    yield "guesses", True, whole
    stairs = uniform(pipeline, constant(16, 16, 24), "rebuild_query_first")
    yield "checks", False, replace(stairs, checked=None)
    yield "checks, guesses", True, replace(stairs, checked=None, starve="write")


def outcomes(
    scenario: Scenario, folder: Path, schedule: Schedule, count: int, lookup: bool, slots: int
) -> Sequence[Outcome]:
    changes = {"slots": slots, "prompt_lookup": lookup}
    engines = {name: changed_spec(name, one, changes) for name, one in scenario.real.items()}
    changed = scenario.model_copy(update={"engines": engines})
    pipeline = changed.pipeline.build()
    jobs = [Job(pipeline, schedule, one) for one in read_dataset(changed, folder, count, 0)]
    with open_engines(changed) as opened:
        return opened.runtime.run(jobs, concurrency=slots)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--embedded", type=int, default=200)
    parser.add_argument("--real", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=48, help="of each text of the real models")
    args = parser.parse_args()
    table = Table(
        "requests", "what", "at once", "same answers", "guessed tokens", "kept of checked"
    )
    for path, count in ((EMBEDDED, args.embedded), (REAL, args.real)):
        scenario = load_scenario(path)
        if path == REAL:
            agents = {name: {"max_tokens": args.tokens} for name in scenario.pipeline.agents}
            pipeline = changed_spec("pipeline", scenario.pipeline, {"agents": agents})
            scenario = scenario.model_copy(update={"pipeline": pipeline})
        for row in rows(scenario, path, count) if count else ():
            table.add_row(*row)
    Console().print(table)


def rows(scenario: Scenario, path: Path, count: int) -> Iterator[tuple[str, ...]]:
    pipeline = scenario.pipeline.build()
    whole = uniform(pipeline, normal(), "rebuild_query_first")
    plain = outcomes(scenario, path.parent, whole, count, False, SLOTS)
    for words, lookup, schedule in variants(pipeline):
        for slots in (1, SLOTS):
            found = outcomes(scenario, path.parent, schedule, count, lookup, slots)
            pairs = zip(found, plain, strict=True)
            same = sum(
                list(a.ids[pipeline.answer]) == list(b.ids[pipeline.answer]) for a, b in pairs
            )
            spans = [span for one in found for span in one.timeline.spans]
            guessed = sum(span.guessed_tokens for span in spans)
            looked, kept = (
                sum(getattr(s, n) for s in spans) for n in ("checked_tokens", "kept_tokens")
            )
            row = (
                f"{count} {scenario.name}",
                words,
                str(slots),
                f"{same} of {count}",
                str(guessed),
            )
            yield (*row, f"{kept} of {looked}")
            Console(stderr=True).print(*row, f"{kept} of {looked}")


if __name__ == "__main__":
    main()
