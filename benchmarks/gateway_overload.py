"""Goodput of a served plan under more and more load, moving along its front or fixed.

    python -m benchmarks.gateway_overload SCENARIO OUT [--seconds 30] [--svg FILE]

SCENARIO has a plan and profiles in OUT, as after ``make demo`` (``planner/demo.yaml
runs/bulletin-desk``). An answer is good if its first and its last token come within twice what
``normal`` is forecast to take alone. Requests come at random times at 0.2 to 3 times the rate that
``staircase capacity`` says ``normal`` can take; the same times are offered to the plan, which asks
less of the engines the more requests wait, and to ``NAME@normal``, which does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import altair as alt
import httpx
import vl_convert
from rich.console import Console
from rich.progress import track
from rich.table import Table

import planner
from executor.opened_engines import read_dataset
from planner.evaluation.validate import FRESH
from planner.results.plans import Plan, load_plan
from staircase.spec.scenario import Scenario, load_scenario
from staircase.workload import Question
from tests.support.until_up import started

PORT = 18092
URL = f"http://127.0.0.1:{PORT}"
UP_WITHIN_S = 120.0
SHARES = (0.2, 0.5, 0.8, 1.0, 1.25, 1.6, 2.0, 3.0)
# A good answer takes at most so many times what ``normal`` does alone.
PATIENCE = 2.0
# Enough that few are asked twice.
QUESTIONS = 32


@dataclass
class Load:
    """What became of the requests at one rate.

    Attributes:
        share: the rate over the capacity.
        seconds: while requests came.
        good: answers whose tokens came in time.
    """

    model: str
    share: float
    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    schedules: Counter[str] = field(default_factory=Counter)
    good: int = 0

    @property
    def goodput(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds


async def ask(
    client: httpx.AsyncClient, question: Question, limits: dict[str, float], load: Load
) -> None:
    """One streamed answer."""
    body = {
        "model": load.model,
        "messages": [{"role": "user", "content": question.query}],
        "inputs": dict(question.inputs) or None,
        "stream": True,
    }
    began, times = time.perf_counter(), list[float]()
    async with client.stream("POST", f"{URL}/v1/chat/completions", json=body) as answer:
        load.statuses[answer.status_code] += 1
        if answer.status_code != 200:
            return
        # A stream that waits long begins before it is known.
        load.schedules[answer.headers.get("staircase-schedule", "waited")] += 1
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            if json.loads(line[6:])["choices"][0]["delta"].get("content"):
                times.append(time.perf_counter() - began)
    # An answer of nothing is none.
    load.good += bool(times) and times[0] <= limits["ttft"] and times[-1] <= limits["e2e"]


async def offer(
    load: Load, rate: float, limits: dict[str, float], questions: Sequence[Question]
) -> None:
    """Requests at random times, whatever became of those before; until all are answered."""
    rng, asked = random.Random(0), set[asyncio.Task[None]]()
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
        end = time.monotonic() + load.seconds
        for question in cycle(questions):
            await asyncio.sleep(rng.expovariate(rate))
            if time.monotonic() > end:
                break
            asked.add(asyncio.create_task(ask(client, question, limits, load)))
        await asyncio.gather(*asked)


def loads(
    plan: Plan, capacity: float, limits: dict[str, float], questions: Sequence[Question], s: float
) -> list[Load]:
    models = (plan.scenario, f"{plan.scenario}@normal")
    found = [Load(model, share, s) for share in SHARES for model in models]
    for model in models:
        asyncio.run(offer(Load(model, 0.0, 2.0), capacity / 2, limits, questions))
    for load in track(found, "rates"):
        asyncio.run(offer(load, load.share * capacity, limits, questions))
    return found


def table(found: Sequence[Load]) -> Table:
    made = Table("model", "of capacity", "answers", "429", "good/s", "schedules")
    for load in found:
        schedules = ", ".join(f"{name}: {count}" for name, count in load.schedules.most_common(4))
        counts = str(load.statuses[200]), str(load.statuses[429])
        made.add_row(load.model, f"{load.share:g}", *counts, f"{load.goodput:.2f}", schedules)
    return made


def chart(found: Sequence[Load], capacity: float) -> alt.Chart:
    rows = [
        {"model": one.model, "offered": one.share * capacity, "good": one.goodput} for one in found
    ]
    drawn: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows), width=460, height=260)
        .mark_line(point=True)
        .encode(
            alt.X("offered:Q", title="requests a second"),
            alt.Y("good:Q", title="good answers a second"),
            alt.Color("model:N", title=None, legend=alt.Legend(orient="top")),
        )
    )
    return drawn


def limits_of(plan: Plan) -> dict[str, float]:
    alone = plan.candidates[plan.normal].forecast
    return {name: PATIENCE * alone[f"{name}_s"].mean for name in ("ttft", "e2e")}


def capacity_of(scenario: Scenario, out: Path, limits: dict[str, float]) -> float:
    found = planner.capacity(scenario, limits, out=out).rate_per_s
    if found is None:
        sys.exit("no rate keeps these limits")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0, help="at each rate")
    parser.add_argument("--svg", type=Path)
    given = parser.parse_args()
    scenario, plan = load_scenario(given.scenario), load_plan(given.out / "plan.json")
    limits = limits_of(plan)
    capacity = capacity_of(scenario, given.out, limits)
    questions = read_dataset(scenario, given.scenario.parent, QUESTIONS, offset=FRESH)
    words: list[Path | str] = [Path(sys.executable).with_name("staircase"), "serve", given.scenario]
    words += ["--out", given.out, "--port", str(PORT)]
    with started(words, f"{URL}/ready", UP_WITHIN_S):
        found = loads(plan, capacity, limits, questions, given.seconds)
    screen = Console(width=130)
    within = " and ".join(f"{name} {limit:.2f} s" for name, limit in limits.items())
    screen.print(f"capacity of normal: {capacity:.2f} requests/s with {within} for 90 % of them")
    screen.print(table(found))
    if given.svg:
        given.svg.write_text(vl_convert.vegalite_to_svg(chart(found, capacity).to_dict()))


if __name__ == "__main__":
    main()
