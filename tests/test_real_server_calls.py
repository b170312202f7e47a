"""Calls of real servers: what they re-use, go on with, and free."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from executor.embedded_models import MODEL_FOLDERS
from executor.engine import CallReport, EngineCall, Key
from executor.inprocess.model_source import source_of
from executor.openai.engine import OpenAIEngine
from tests.support.backends import open_engine
from tests.support.real_servers import GUESSING, ONE_SLOT, SERVERS, RealServers, server_params
from tests.support.smollm2 import SMOLLM2, needs_smollm2

EMBEDDED = MODEL_FOLDERS["embedded-hard"]
# Tokens of a prefix that can be re-used are a multiple of it.
CACHE_BLOCK = {"llama-server": 1, "vllm": 32}
NUMBERS = itertools.count()


@dataclass
class CallRecorder:
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
    engine: OpenAIEngine,
    text: str,
    max_tokens: int,
    ignore_end: bool = False,
    own: str = "",
    guess: Sequence[int] = (),
) -> tuple[Key, CallRecorder]:
    key, recorder = (0, next(NUMBERS)), CallRecorder()
    ids, tail = engine.encode(text), engine.encode(own)
    call = EngineCall(key, ids + tail, max_tokens, ignore_end, len(tail), guess=guess)
    engine.submit(call, recorder)
    return key, recorder


def complete(engine: OpenAIEngine, text: str, max_tokens: int, own: str = "") -> tuple[str, int]:
    """What was written, and how many tokens of the prompt were cached."""
    _, recorder = start(engine, text, max_tokens, own=own)
    report = recorder.report()
    assert (report.error, report.reason) == (None, "length")
    assert len(recorder.ids) == max_tokens
    return engine.decode(recorder.ids), report.cached_tokens


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


@pytest.mark.parametrize("server", server_params(["llama-server", "vllm"]))
def test_a_prediction_changes_no_text(
    server: str, real_servers: RealServers, letter_model: Path
) -> None:
    """These servers read over it."""
    url = real_servers.url(SERVERS[server], letter_model)
    with ExitStack() as stack:
        engine = open_engine(stack, url, letter_model, guesses="prediction")
        _, plain = start(engine, "why?", 24)
        assert plain.report().error is None
        for guess in (plain.ids, plain.ids[:9], [*plain.ids[:9], *engine.encode("xyz")]):
            _, recorder = start(engine, "why?", 24, guess=guess)
            assert recorder.report().error is None
            assert recorder.ids == plain.ids


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


def counted(url: str, name: str) -> int:
    """Of llama-server's own figures."""
    said = httpx.get(f"{url.removesuffix('/v1')}/metrics").text
    found = re.search(rf"^llamacpp:{name}_total (\d+)", said, re.MULTILINE)
    assert found
    return int(found[1])


LIST = "one apple, two pears, three plums, four figs, five limes."


@pytest.mark.slow
@needs_smollm2
def test_what_a_server_guesses_by_itself_is_told(real_servers: RealServers) -> None:
    """The same greedy text, and passes and guesses as its own figures have them."""
    file = source_of(SMOLLM2).file
    assert file is not None
    found, names = [], ("n_decode", "spec_decode_num_accepted_tokens")
    for kind in (SERVERS["llama-server"], GUESSING):
        url = real_servers.url(kind, file)
        with ExitStack() as stack:
            engine = open_engine(stack, url, file, tokenizer=None, api="completions")
            before = [counted(url, name) for name in names]
            _, recorder = start(engine, f"Repeat the list.\nList: {LIST}\nList:", 64, True)
            report = recorder.report()
        assert (report.reason, report.error) == ("length", None)
        after = [counted(url, name) for name in names]
        passes, kept = (now - then for now, then in zip(after, before, strict=True))
        assert (report.passes, report.guessed_tokens) == (passes, kept)
        assert report.passes + report.guessed_tokens == 64
        found.append((engine.decode(recorder.ids), report.guessed_tokens))
    (plain, none), (guessed, some) = found
    assert plain == guessed
    assert none == 0 < some


@pytest.mark.slow
def test_cancelling_frees_the_slot(real_servers: RealServers, letter_model: Path) -> None:
    """Long before the call has written what was asked for the next one has the only slot."""
    url = real_servers.url(ONE_SLOT, letter_model)
    before, asked = counted(url, "tokens_predicted"), 30_000
    with ExitStack() as stack:
        engine = open_engine(stack, url, letter_model)
        key, cancelled = start(engine, "abc", asked)
        assert cancelled.began.wait(60)
        _, waiting = start(engine, "abd", 5)
        engine.cancel(key)
        assert cancelled.report().reason == "cancelled"
        assert (waiting.report().reason, len(waiting.ids)) == ("length", 5)
    assert counted(url, "tokens_predicted") - before < asked


@pytest.mark.slow
def test_closed_connections_cost_no_try(real_servers: RealServers, letter_model: Path) -> None:
    """It closes connections that it said it would keep, some just as they are used again."""
    url = real_servers.url(ONE_SLOT, letter_model)
    with ExitStack() as stack:
        engine = open_engine(stack, url, letter_model, tries=1, max_concurrency=8)
        every = [start(engine, f"abc{number}", 3)[1] for number in range(300)]
        ends = {(recorder.report().reason, recorder.report().error) for recorder in every}
    assert ends == {("length", None)}
