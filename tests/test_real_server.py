"""A real server, ``transformers serve``, says what the in-process engine says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.bench import open_bench
from executor.embedded import MODEL_FOLDER
from executor.runtime import Job, Outcome
from staircase import Schedule, constant, uniform
from staircase.scenario import Scenario
from staircase.schedule import LAYOUTS, Layout
from staircase.workload import Question
from tests.support.letter_model import save_letter_model
from tests.support.transformers_serve import transformers_serve

pytestmark = pytest.mark.slow
# Whole words with spaces around them, so that text and token ids mean the same.
FORMAT = {
    "header": "{role} ",
    "query": "{query} ",
    "label": " <from> {source} ",
    "own": " <write> ",
}
TOKENS = 40


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_serve(tmp_path_factory.mktemp("serve")) as url:
        yield url


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder)
    return str(folder)


def scenario(engine: dict[str, object], agents: list[str]) -> Scenario:
    names = [*agents, "editor"]
    detail = {"engine": "e", "role": "<report>", "max_tokens": TOKENS}
    pipeline = {"moa": {"layers": [agents], "answer": "editor"}} if agents else {"single": "editor"}
    return Scenario.model_validate(
        {
            "name": "real",
            "pipeline": {**pipeline, "agents": dict.fromkeys(names, detail)},
            "engines": {"e": {**engine, "format": FORMAT}},
        }
    )


def play(engine: dict[str, object], agents: list[str], schedule: Schedule) -> Outcome:
    written = scenario(engine, agents)
    question = Question("storm in belmar", {name: f"{name} storm" for name in agents})
    with open_bench(written) as bench:
        return bench.runtime.run([Job(written.pipeline.build(), schedule, question)])[0]


def served(url: str, folder: str) -> dict[str, object]:
    return {"kind": "openai", "base_url": url, "model": folder, "tokenizer": folder}


def test_greedy_text_is_the_in_process_engines(url: str) -> None:
    there = play(served(url, str(MODEL_FOLDER)), [], Schedule())
    here = play({"model": "embedded"}, [], Schedule())
    assert there.timeline.error is None
    assert here.texts["editor"]
    assert there.texts == here.texts
    assert there.timeline.written == here.timeline.written


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_staircase_is_the_in_process_engines(url: str, letters: str, layout: Layout) -> None:
    """Every call continues the text of the one before, through text alone."""
    agents = ["north", "south"]
    schedule = uniform(scenario({"model": letters}, agents).pipeline.build(), constant(8, 8, 6))
    schedule = Schedule(schedule.staircases, layout)
    there = play(served(url, letters), agents, schedule)
    here = play({"model": letters}, agents, schedule)
    assert there.timeline.error is None
    assert len(there.calls) > 5
    assert there.texts == here.texts
    assert [call.prompt for call in there.calls if call.agent == "editor"] == [
        call.prompt for call in here.calls if call.agent == "editor"
    ]


def test_a_seam_that_would_lose_a_space_is_refused(url: str) -> None:
    """The embedded tokenizer joins words by spaces, which this server leaves out at the seam."""
    agents = ["north", "south"]
    schedule = uniform(scenario({"model": "embedded"}, agents).pipeline.build(), constant(8, 8, 6))
    outcome = play(served(url, str(MODEL_FOLDER)), agents, schedule)
    assert outcome.timeline.error is not None
    assert "loses the space" in outcome.timeline.error


def test_the_model_must_be_there(url: str, tmp_path: Path) -> None:
    from staircase.errors import EngineError

    with pytest.raises(EngineError, match=r"engine 'e': http://127.0.0.1:\d+/v1: "):
        play(served(url, "/no/such/model") | {"tokenizer": None}, [], Schedule())
