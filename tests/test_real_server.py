"""Real servers say what the in-process engine says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from executor.embedded_models import MODEL_FOLDERS
from executor.inprocess.models import load_model
from executor.opened_engines import open_engines
from executor.runtime import Job, Outcome
from staircase import Schedule, constant, uniform
from staircase.errors import EngineError
from staircase.schedule import LAYOUTS, Layout
from staircase.spec.scenario import Scenario
from staircase.workload import Question
from tests.support.backends import open_engine
from tests.support.real_servers import SERVERS, RealServers, server_params

# Whole words with spaces around them, so that text and token ids mean the same.
FORMAT = {
    "header": "{role} ",
    "query": "{query} ",
    "label": " <from> {source} ",
    "own": " <write> ",
}
# Enough for the embedded model of the hard desk to end its text by itself.
TOKENS = 80
AGENTS = ["north", "south"]
EMBEDDED = MODEL_FOLDERS["embedded-hard"]
EVERY_SERVER = pytest.mark.parametrize("server", server_params(SERVERS))


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
    with open_engines(written) as opened:
        return opened.runtime.run([Job(written.pipeline.build(), schedule, question)])[0]


def staircase(layout: Layout = "rebuild") -> Schedule:
    pipeline = scenario({"model": "embedded-hard"}, AGENTS).pipeline.build()
    return Schedule(uniform(pipeline, constant(8, 8, 6)).staircases, layout)


def served(url: str, folder: Path) -> dict[str, object]:
    return {"kind": "openai", "base_url": url, "model": str(folder), "tokenizer": str(folder)}


def words(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Tokens of the embedded model: some servers' text of it begins with a space."""
    return {name: text.split() for name, text in texts.items()}


def reasons(outcome: Outcome) -> list[str]:
    return [span.reason for span in outcome.timeline.spans]


def prompts_of_editor(outcome: Outcome) -> list[object]:
    return [call.prompt for call in outcome.calls if call.agent == "editor"]


@EVERY_SERVER
def test_greedy_text_is_the_in_process_engines(server: str, real_servers: RealServers) -> None:
    url = real_servers.url(SERVERS[server], EMBEDDED)
    there = play(served(url, EMBEDDED), [], Schedule())
    here = play({"model": "embedded-hard"}, [], Schedule())
    assert there.timeline.error is None
    assert reasons(here) == reasons(there) == ["stop"]
    assert words(there.texts) == words(here.texts)
    assert there.timeline.written == here.timeline.written


@EVERY_SERVER
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_staircase_is_the_in_process_engines(
    server: str, real_servers: RealServers, letter_model: Path, layout: Layout
) -> None:
    """Every call continues the text of the one before."""
    url = real_servers.url(SERVERS[server], letter_model)
    there = play(served(url, letter_model), AGENTS, staircase(layout))
    here = play({"model": str(letter_model)}, AGENTS, staircase(layout))
    assert there.timeline.error is None
    assert len(there.calls) > 5
    assert there.texts == here.texts
    assert prompts_of_editor(there) == prompts_of_editor(here)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("server", server_params(["llama-server", "vllm"]))
def test_a_staircase_of_words_is_the_in_process_engines(
    server: str, real_servers: RealServers, layout: Layout
) -> None:
    """Where the space between words is not lost, or ids go over the wire."""
    url = real_servers.url(SERVERS[server], EMBEDDED)
    there = play(served(url, EMBEDDED), AGENTS, staircase(layout))
    here = play({"model": "embedded-hard"}, AGENTS, staircase(layout))
    assert there.timeline.error is None
    assert words(there.texts)["editor"] == words(here.texts)["editor"]
    assert prompts_of_editor(there) == prompts_of_editor(here)
    for name in AGENTS:
        # Who still writes when the answer ends is cancelled, sooner or later.
        both = zip(words(there.texts)[name], words(here.texts)[name], strict=False)
        assert all(word == same for word, same in both)


@pytest.mark.slow
def test_a_seam_that_would_lose_a_space_is_refused(real_servers: RealServers) -> None:
    """The embedded tokenizer joins words by spaces, which this server leaves out at the seam."""
    url = real_servers.url(SERVERS["transformers serve"], EMBEDDED)
    outcome = play(served(url, EMBEDDED), AGENTS, staircase())
    assert outcome.timeline.error is not None
    assert "loses the space" in outcome.timeline.error


@pytest.mark.parametrize("server", server_params(["transformers serve", "vllm"]))
def test_the_model_must_be_there(server: str, real_servers: RealServers) -> None:
    """llama-server has one model, whatever it is called."""
    url = real_servers.url(SERVERS[server], EMBEDDED)
    with pytest.raises(EngineError, match=r"engine 'e': http://127.0.0.1:\d+/v1: "):
        play(served(url, Path("/no/such/model")) | {"tokenizer": None}, [], Schedule())


@EVERY_SERVER
def test_what_a_token_is(server: str, real_servers: RealServers, letter_model: Path) -> None:
    """The model's own where ids go both ways; else a piece of text, of this engine alone."""
    url = real_servers.url(SERVERS[server], letter_model)
    with ExitStack() as stack:
        vocabulary = open_engine(stack, url, letter_model).vocabulary
    known = load_model(str(letter_model), "cpu", "float32").vocabulary
    assert vocabulary == (known if server == "vllm" else "text of served")
