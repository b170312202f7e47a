"""What ``validate`` plays: the same drafts of a question under every schedule."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from executor.bench import open_bench
from planner.plans import Candidate, Plan
from planner.validate import validate
from profiles.store import provenance_of_now
from staircase.metrics import summarize
from staircase.pipeline import Pipeline
from staircase.scenario import Scenario, load_scenario
from staircase.schedule import Schedule, constant, uniform
from tests.support.letter_model import save_letter_model


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Two proposers that sample, and a greedy editor, of one tiny model."""
    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder / "model")
    (folder / "asked.jsonl").write_text("".join(f'{{"query": "{one}: why?"}}\n' for one in "abc"))
    sampling = {"model": str(folder / "model"), "temperature": 1.0}
    content = {
        "name": "letters",
        "pipeline": {
            "moa": {"layers": [["p", "q"]], "answer": "z"},
            "agents": {name: {"max_tokens": 24} for name in "pqz"},
        },
        "engines": {
            "p": {**sampling, "seed": 1},
            "q": {**sampling, "seed": 2},
            "z": {"model": str(folder / "model")},
        },
        "requests": {"dataset": str(folder / "asked.jsonl")},
    }
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_scenario(path)


def plan_of(pipeline: Pipeline) -> Plan:
    """The choice reads a little, writes all, and leaves the drafts unfinished."""
    forecast = {name: summarize([1.0]) for name in ("ttft_s", "smooth_start_s", "e2e_s")}
    schedules = (uniform(pipeline, constant(4, 4, 12)), Schedule())
    candidates = tuple(Candidate(schedule, forecast) for schedule in schedules)
    return Plan("x", ("ttft",), (), candidates, (0, 1), 0, 1, 1, 5.3, {}, provenance_of_now())


def test_drafts_of_a_question_are_drawn_alike_under_every_schedule(
    scenario: Scenario, tmp_path: Path
) -> None:
    plan = plan_of(scenario.pipeline.build())
    with open_bench(scenario) as bench:
        _, played = validate(scenario, tmp_path, plan, bench, requests=3, front=0)
    by_question: dict[str, list[dict[str, str]]] = {}
    for runs in played.values():
        for run in runs:
            texts = {name: run.outcome.texts[name] for name in "pq"}
            by_question.setdefault(run.question.text, []).append(texts)
    for drafts in by_question.values():
        for name in "pq":
            whole = max((one[name] for one in drafts), key=len)
            assert len(whole) == 24
            assert all(whole.startswith(one[name]) for one in drafts)
    assert len({drafts[0]["p"] for drafts in by_question.values()}) == 3, "questions draw their own"
