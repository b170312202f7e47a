"""What a client of ``staircase serve`` sees, beside the plan's forecast.

    python -m benchmarks.gateway_forecast SCENARIO OUT [--requests 16]

SCENARIO has a plan in OUT, as after ``make demo`` (``planner/demo.yaml runs/demo``). The plan is
served in a process of its own; a client streams answers to questions that no profile has seen, the
choice's and ``normal``'s in turn, one at a time. Errors are of means. The gateway's share of the
first token is what the client waited longer than the runtime says that it took.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from executor.opened_engines import read_dataset
from planner.evaluation.validate import FRESH
from planner.results.plans import Plan, load_plan
from staircase.metrics.request_metrics import smooth_start
from staircase.spec.scenario import load_scenario
from staircase.workload import Question
from tests.support.until_up import started

PORT = 18091
URL = f"http://127.0.0.1:{PORT}"
UP_WITHIN_S = 120.0
FIGURES = ("ttft_s", "smooth_start_s", "e2e_s")


@dataclass
class SeenAnswers:
    """Of one schedule's answers, by figure, in seconds."""

    found: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in (*FIGURES, "added_s")}
    )

    def mean(self, name: str) -> float:
        return sum(self.found[name]) / len(self.found[name])


def ask(
    client: httpx.Client,
    model: str,
    question: Question,
    rate: float,
    answering: str,
    seen: SeenAnswers,
) -> None:
    """``answering`` is the agent whose text the answer is."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question.query}],
        "inputs": dict(question.inputs) or None,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, times, told = time.perf_counter(), list[float](), dict[str, Any]()
    with client.stream("POST", f"{URL}/v1/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            sys.exit(f"{model}: {answer.status_code} {answer.read().decode()[:200]}")
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if any(choice["delta"].get("content") for choice in chunk["choices"]):
                times.append(time.perf_counter() - began)
            told = chunk.get("staircase") or told
    seen.found["ttft_s"].append(times[0])
    seen.found["smooth_start_s"].append(smooth_start(times, 1 / rate))
    seen.found["e2e_s"].append(times[-1])
    seen.found["added_s"].append(times[0] - told["agents"][answering]["first_token_s"])


def table(plan: Plan, seen: dict[str, SeenAnswers]) -> Table:
    found = Table("schedule", "", "first token ms", "smooth start ms", "last token ms")
    numbers = {plan.scenario: plan.chosen, f"{plan.scenario}@normal": plan.normal}
    for model, number in numbers.items():
        forecast = [plan.candidates[number].forecast[name].mean for name in FIGURES]
        measured = [seen[model].mean(name) for name in FIGURES]
        found.add_row(model, "forecast", *(f"{one * 1e3:.1f}" for one in forecast))
        found.add_row("", "at the client", *(f"{one * 1e3:.1f}" for one in measured))
        errors = [one / other - 1 for one, other in zip(forecast, measured, strict=True)]
        found.add_row("", "error", *(f"{one:+.1%}" for one in errors), end_section=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--requests", type=int, default=16)
    given = parser.parse_args()
    scenario, plan = load_scenario(given.scenario), load_plan(given.out / "plan.json")
    questions = read_dataset(scenario, given.scenario.parent, given.requests, offset=FRESH)
    answering = scenario.pipeline.build().answer
    models = (plan.scenario, f"{plan.scenario}@normal")
    seen = {model: SeenAnswers() for model in models}
    words = [Path(sys.executable).with_name("staircase"), "serve", given.scenario]
    words += ["--out", given.out, "--port", str(PORT)]
    with started(words, f"{URL}/ready", UP_WITHIN_S), httpx.Client(timeout=600) as client:
        for model in models:
            ask(client, model, questions[0], plan.reading_rate, answering, SeenAnswers())
        for question in questions:
            for model in models:
                ask(client, model, question, plan.reading_rate, answering, seen[model])
    screen = Console(width=110)
    screen.print(table(plan, seen))
    added = [one * 1e3 for model in models for one in seen[model].found["added_s"]]
    mean = sum(added) / len(added)
    screen.print(f"the gateway adds {mean:.1f} ms to the first token, at most {max(added):.1f} ms")


if __name__ == "__main__":
    main()
