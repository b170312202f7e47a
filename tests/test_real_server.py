"""Real servers say what the in-process engine says, and re-use and free what they should."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from executor.bench import open_bench
from executor.embedded import MODEL_FOLDER
from executor.engine import CallReport, EngineCall, Key
from executor.openai_engine import OpenAIEngine
from executor.runtime import Job, Outcome
from staircase import Schedule, constant, uniform
from staircase.errors import EngineError
from staircase.scenario import Scenario
from staircase.schedule import LAYOUTS, Layout
from staircase.workload import Question
from tests.support.real_servers import ONE_SLOT, SERVERS, RealServers, server_params
from tests.support.worlds import open_engine

# Whole words with spaces around them, so that text and token ids mean the same.
FORMAT = {
    "header": "{role} ",
    "query": "{query} ",
    "label": " <from> {source} ",
    "own": " <write> ",
}
# Enough for the embedded model to end its text by itself.
TOKENS = 80
AGENTS = ["north", "south"]
EMBEDDED = Path(MODEL_FOLDER)
# Tokens of a prefix that can be re-used are a multiple of it.
CACHE_BLOCK = {"llama-server": 1, "vllm": 32}
NUMBERS = itertools.count()


@pytest.fixture(params=server_params(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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


def staircase(layout: Layout = "rebuild") -> Schedule:
    pipeline = scenario({"model": "embedded"}, AGENTS).pipeline.build()
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


def test_greedy_text_is_the_in_process_engines(server: str, real_servers: RealServers) -> None:
    url = real_servers.url(SERVERS[server], EMBEDDED)
    there = play(served(url, EMBEDDED), [], Schedule())
    here = play({"model": "embedded"}, [], Schedule())
    assert there.timeline.error is None
    assert reasons(here) == reasons(there) == ["stop"]
    assert words(there.texts) == words(here.texts)
    assert there.timeline.written == here.timeline.written


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
    here = play({"model": "embedded"}, AGENTS, staircase(layout))
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


@dataclass
class Heard:
    """What an engine said of one call."""

    ids: list[int] = field(default_factory=list)
    reports: list[CallReport] = field(default_factory=list)
    began: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.ids.append(token)
        self.began.set()

    def on_end(self, key: Key, report: CallReport) -> None:
        self.reports.append(report)
        self.ended.set()

    def report(self) -> CallReport:
        assert self.ended.wait(60)
        return self.reports[0]


def start(
    engine: OpenAIEngine, text: str, max_tokens: int, ignore_end: bool = False, own: str = ""
) -> tuple[Key, Heard]:
    key, heard = (0, next(NUMBERS)), Heard()
    ids, tail = engine.encode(text), engine.encode(own)
    engine.submit(EngineCall(key, ids + tail, max_tokens, ignore_end, len(tail)), heard)
    return key, heard


def complete(engine: OpenAIEngine, text: str, max_tokens: int, own: str = "") -> tuple[str, int]:
    """What was written, and how many tokens of the prompt were cached."""
    _, heard = start(engine, text, max_tokens, own=own)
    report = heard.report()
    assert (report.error, report.reason) == (None, "length")
    assert len(heard.ids) == max_tokens
    return engine.decode(heard.ids), report.cached_tokens


@pytest.mark.parametrize("server", server_params(["llama-server", "vllm"]))
def test_goes_on_past_the_end(server: str, real_servers: RealServers) -> None:
    url = real_servers.url(SERVERS[server], EMBEDDED)
    with ExitStack() as stack:
        engine = open_engine(stack, url, EMBEDDED)
        _, ends = start(engine, "<report> storm in belmar <write> ", 200)
        assert ends.report().reason == "stop"
        _, goes_on = start(engine, "<report> storm in belmar <write> ", 200, ignore_end=True)
        assert goes_on.report().reason == "length"
        assert len(ends.ids) < len(goes_on.ids) == 200


def test_what_a_token_is(server: str, real_servers: RealServers, letter_model: Path) -> None:
    """The model's own where ids go both ways; else a piece of text, of this engine alone."""
    url = real_servers.url(SERVERS[server], letter_model)
    with ExitStack() as stack:
        vocabulary = open_engine(stack, url, letter_model).vocabulary
    assert vocabulary == (str(letter_model) if server == "vllm" else "text of served")


@pytest.mark.parametrize("server", server_params(["llama-server"]))
def test_chat_continues_an_answer(
    server: str, real_servers: RealServers, letter_model: Path
) -> None:
    url = real_servers.url(SERVERS[server], letter_model)
    with ExitStack() as stack:
        engine = open_engine(stack, url, letter_model, api="chat")
        whole, _ = complete(engine, "why?", 24)
        begun, _ = complete(engine, "why?", 12)
        assert begun + complete(engine, "why?", 12, own=begun)[0] == whole


@pytest.mark.parametrize("server", server_params(CACHE_BLOCK))
def test_cached_tokens_of_a_growing_prompt(
    server: str, real_servers: RealServers, letter_model: Path
) -> None:
    """All that is as it was, but for a prompt's last token and whatever fills no block."""
    url, block = real_servers.url(SERVERS[server], letter_model), CACHE_BLOCK[server]
    with ExitStack() as stack:
        engine = open_engine(stack, url, letter_model)
        prompt = "Z" + "abcdefg" * 20
        written, cold = complete(engine, prompt, 20)
        assert cold == 0
        # What was written last was never read.
        _, grown = complete(engine, prompt + written + "x" * 30, 1)
        assert grown == (len(prompt) + len(written) - 1) // block * block
        assert complete(engine, prompt, 1)[1] == (len(prompt) - 1) // block * block
        _, rebuilt = complete(engine, prompt[:100] + "?" * 60, 1)
        assert rebuilt == 100 // block * block


def tokens_predicted(url: str) -> int:
    said = httpx.get(f"{url.removesuffix('/v1')}/metrics").text
    found = re.search(r"^llamacpp:tokens_predicted_total (\d+)", said, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.slow
def test_cancelling_frees_the_slot(real_servers: RealServers, letter_model: Path) -> None:
    """Long before the call has written what was asked for the next one has the only slot."""
    url = real_servers.url(ONE_SLOT, letter_model)
    before, asked = tokens_predicted(url), 4000
    with ExitStack() as stack:
        engine = open_engine(stack, url, letter_model)
        key, cancelled = start(engine, "abc", asked)
        assert cancelled.began.wait(60)
        _, waiting = start(engine, "abd", 5)
        engine.cancel(key)
        assert cancelled.report().reason == "cancelled"
        assert (waiting.report().reason, len(waiting.ids)) == ("length", 5)
    assert tokens_predicted(url) - before < asked


@pytest.mark.slow
def test_closed_connections_cost_no_try(real_servers: RealServers, letter_model: Path) -> None:
    """It closes connections that it said it would keep, some just as they are used again."""
    url = real_servers.url(ONE_SLOT, letter_model)
    with ExitStack() as stack:
        engine = open_engine(stack, url, letter_model, tries=1, max_concurrency=8)
        every = [start(engine, f"abc{number}", 3)[1] for number in range(300)]
        ends = {(heard.report().reason, heard.report().error) for heard in every}
    assert ends == {("length", None)}
