"""The experiment on real models: ``make real``, or ``python -m benchmarks.real_models [PART …]``.

Each part is a scenario in ``examples/real/``: profiled, planned and validated by the command line
as a user would, with every run recorded in ``results/``. What is finished is not done again, and an
interrupted part goes on where it was. From the record it tells when answers came, and quotes three
of ``normal`` and of the choice.

Parts behind servers start two llama-servers on loopback, one thread and one core each. They need
``make models`` and ``make llama-server``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from executor.inprocess.model_source import source_of
from planner.figures.number_format import with_interval
from planner.results.recorded_runs import RecordedRuns, load_runs
from staircase.metrics.measured import measure_all
from staircase.spec.engine_spec import OpenAISpec
from staircase.spec.scenario import Scenario, load_scenario
from tests.support.llama_build import binary
from tests.support.until_up import is_up

ROOT = Path(__file__).parents[1]
SCENARIOS, RESULTS = ROOT / "examples" / "real", ROOT / "results"
PARTS = ("servers", "batched", "in_process", "mixed", "debate")
# A server reads 100 MB and warms up.
UP_WITHIN_S = 120.0
CONTEXT = 2048
QUOTED = 3
screen = Console(width=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "real")
    given = parser.parse_args()
    for part in given.parts or PARTS:
        run_part(part, given.out / part)


def run_part(part: str, out: Path) -> None:
    """Profile, plan and validation of a scenario, and what its runs come to."""
    path, record = SCENARIOS / f"{part}.yaml", RESULTS / f"{part}.jsonl"
    RESULTS.mkdir(exist_ok=True)
    if not record.is_file():
        with ExitStack() as stack:
            start_servers(stack, load_scenario(path))
            for kind in ("latency", "quality"):
                if not (out / f"{kind}.json").is_file():
                    staircase("profile", path, "--only", kind, "--out", out)
            if not (out / "plan.json").is_file():
                staircase("plan", path, "--out", out)
            staircase("validate", path, "--out", out, "--save", record)
    found = load_runs(record)
    screen.print(times(found))
    quote(found)


def staircase(*words: str | Path) -> None:
    """Ends the program where the command fails; its own lines say why."""
    done = subprocess.run([Path(sys.executable).with_name("staircase"), *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def start_servers(stack: ExitStack, scenario: Scenario) -> None:
    """One for each address of ``scenario``, on a core of its own, as far as there are cores."""
    cores = sorted(os.sched_getaffinity(0))
    by_port: dict[int, OpenAISpec] = {}
    for spec in scenario.remote.values():
        by_port.setdefault(httpx.URL(spec.base_url).port or 80, spec)
    for number, (port, spec) in enumerate(by_port.items()):
        stack.enter_context(llama_server(spec, port, cores[number % len(cores)]))


@contextmanager
def llama_server(spec: OpenAISpec, port: int, core: int) -> Iterator[None]:
    """Serves the model of ``spec.tokenizer``; ends the program where there is no such server."""
    file = source_of(str(spec.tokenizer)).file
    if not binary().is_file() or file is None:
        sys.exit(f"{binary()}: no such program; 'make llama-server' builds it")
    slots = min(spec.max_concurrency, 4)
    words = ["-np", slots, "-c", CONTEXT * slots, "-t", 1, "--host", "127.0.0.1", "--port", port]
    server = subprocess.Popen(
        [binary(), "-m", file, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        os.sched_setaffinity(server.pid, {core})
        url = f"http://127.0.0.1:{port}/health"
        if not is_up(server, url, UP_WITHIN_S):
            sys.exit(f"{url}: llama-server did not come up; is the port in use?")
        yield
    finally:
        server.terminate()
        server.wait(30)


def times(found: RecordedRuns) -> Table:
    """When answers came, in seconds: means over the questions, with 90 % intervals."""
    reading_rate = Scenario.model_validate(found.header.scenario).plan.reading_rate
    heads = {"ttft_s": "first token", "smooth_start_s": "smooth start", "e2e_s": "last token"}
    table = Table("schedule", *heads.values(), title=f"Seconds, at {reading_rate:g} tokens/s")
    for name in found.header.schedules:
        lines = [run.timeline for run in found.runs if run.name == name]
        known = measure_all(lines, reading_rate).summaries()
        some = (known[metric] for metric in heads)
        table.add_row(name, *(with_interval(one.mean, one.low, one.high) for one in some))
    return table


def quote(found: RecordedRuns, names: Sequence[str] = ("normal", "chosen")) -> None:
    """Answers of the same questions under the schedules called ``names``."""
    answer = Scenario.model_validate(found.header.scenario).pipeline.build().answer
    by_name = {
        name: {run.question: run.texts[answer] for run in found.runs if run.name == name}
        for name in names
    }
    for question in list(by_name[names[0]])[:QUOTED]:
        screen.print(f"\n{question}", style="bold", highlight=False, markup=False)
        for name in names:
            screen.print(f"{name}: {by_name[name][question]}", highlight=False, markup=False)


if __name__ == "__main__":
    main()
