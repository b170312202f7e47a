"""Engines behind OpenAI-compatible servers: what is sent, what is shown, what goes wrong."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.engine import CallReport, EngineCall, Key
from executor.inprocess.models import load_tokenizer
from executor.measure.call_recorder import serve
from executor.openai.connecting import apis_of
from executor.openai.engine import OpenAIEngine, ServerSettings
from executor.openai.probe import Probe
from executor.openai.server import Address, Network
from executor.openai.server_faults import (
    Patience,
    ServerError,
    retry_after_s,
    status_fault,
    transport_fault,
)
from executor.openai.server_profile import FIELDS, SCORINGS, Api, ServerProfile
from executor.openai.stream_chunks import Chunk, Usage
from executor.openai.vocabularies import ModelTokens, TextPieces, Vocabulary, token_borders
from executor.prompts.prompt_formats import form_of_server
from executor.runtime import Job, Outcome, Runtime, ServedModel
from staircase import Schedule, constant, moa, uniform
from staircase.spec.engine_spec import OpenAISpec
from tests.support.backends import FORM, QUESTION, CharacterTokenizer, server_settings
from tests.support.fake_server import FIRST_ID, FakeServer, Fault, Kind, Manners

KEY = "sk-very-secret"
TEXT = ServerProfile("completions", frozenset({"stream_options"}))
IDS = ServerProfile(
    "completions",
    frozenset({"stream_options", "return_token_ids"}),
    takes_ids=True,
    returns_ids=True,
)
CHAT = ServerProfile("chat", frozenset({"stream_options", "continue_final_message"}))
EMBEDDED = token_borders(load_tokenizer("embedded-hard"))
LIVELY = ("network", "fake server")


@dataclass
class Recorder:
    """Listens to one call."""

    ids: list[int] = field(default_factory=list)
    reports: list[CallReport] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    some: threading.Event = field(default_factory=threading.Event)

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        assert not self.reports
        self.ids.append(token)
        self.some.set()

    def on_end(self, key: Key, report: CallReport) -> None:
        self.reports.append(report)
        self.done.set()

    def report(self) -> CallReport:
        assert self.done.wait(20)
        assert len(self.reports) == 1
        return self.reports[0]


@dataclass
class Setting:
    """A server, and an engine that uses it."""

    fake: FakeServer
    network: Network
    engine: OpenAIEngine

    def call(self, prompt: str, max_tokens: int = 5, own: str = "", **options: Any) -> Recorder:
        recorder, ids, tail = Recorder(), self.engine.encode(prompt), self.engine.encode(own)
        call = EngineCall(
            (0, 0), ids + tail, max_tokens, own_tokens=len(tail), so_far=tail, **options
        )
        self.engine.submit(call, recorder)
        return recorder

    def written(self, recorder: Recorder) -> str:
        return self.engine.decode(recorder.ids)


def numbers(first: int, last: int) -> str:
    return "".join(f" {number}" for number in range(first, last + 1))


@contextmanager
def setting(
    manners: Manners | None = None,
    profile: ServerProfile = TEXT,
    settings: ServerSettings | None = None,
    vocabulary: Vocabulary | None = None,
    timeout_s: float = 10.0,
) -> Iterator[Setting]:
    """Leaves nothing behind: no thread, no task, no connection."""
    with FakeServer(manners) as fake:
        with Network() as network:
            server = network.server(Address(fake.url, KEY, timeout_s, 10.0))
            engine = OpenAIEngine(
                network,
                server,
                profile,
                settings or server_settings("m"),
                vocabulary or TextPieces("text"),
            )
            yield Setting(fake, network, engine)
            wait_until(lambda: network.run(tasks()) == 1)
        wait_until(lambda: fake.open == 0)
    assert not [thread for thread in threading.enumerate() if thread.name in LIVELY]


async def tasks() -> int:
    await asyncio.sleep(0)
    return len(asyncio.all_tasks())


def wait_until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestOneCall:
    def test_text(self) -> None:
        with setting() as it:
            recorder = it.call("q:", max_tokens=4)
            assert recorder.report().reason == "length"
            assert it.written(recorder) == numbers(1, 4)
            assert len(recorder.ids) == 4
            body = it.fake.bodies[0]
            assert body == {
                "model": "m",
                "prompt": "q:",
                "max_tokens": 4,
                "stream": True,
                "stream_options": {"include_usage": True},
                "temperature": 0.0,
            }

    def test_continues_just_what_was_shown(self) -> None:
        with setting() as it:
            recorder = it.call("q: ü\n\n a:", own=numbers(1, 3))
            assert recorder.report().cached_tokens == 3
            assert it.written(recorder) == numbers(4, 8)
            assert it.fake.bodies[0]["prompt"] == "q: ü\n\n a: 1 2 3"

    def test_token_ids(self) -> None:
        tokenizer: Any = CharacterTokenizer()
        with setting(profile=IDS, vocabulary=ModelTokens("v", tokenizer)) as it:
            recorder = Recorder()
            it.engine.submit(EngineCall((0, 0), [5, FIRST_ID + 7], 3), recorder)
            assert recorder.report().reason == "length"
            assert recorder.ids == [FIRST_ID + 8, FIRST_ID + 9, FIRST_ID + 10]
            assert it.fake.bodies[0]["prompt"] == [5, FIRST_ID + 7]

    def test_chat_continues_an_assistant_message(self) -> None:
        with setting(profile=CHAT) as it:
            recorder = it.call("q:", own=numbers(1, 2), max_tokens=2)
            assert recorder.report().error is None
            assert it.written(recorder) == numbers(3, 4)
            assert it.fake.bodies[0]["messages"] == [
                {"role": "user", "content": "q:"},
                {"role": "assistant", "content": " 1 2"},
            ]
            assert it.fake.bodies[0]["add_generation_prompt"] is False

    def test_end_of_the_text(self) -> None:
        with setting(Manners(length=3)) as it:
            recorder = it.call("q:")
            assert recorder.report().reason == "stop"
            assert it.written(recorder) == numbers(1, 3)

    @pytest.mark.parametrize("usage", ["last", "apart", "never"])
    @pytest.mark.parametrize("has_done", [True, False])
    def test_ends_as_servers_end_them(self, usage: Any, has_done: bool) -> None:
        with setting(Manners(usage=usage, has_done=has_done)) as it:
            report = it.call("q:", own=" 1 2").report()
            assert report.error is None
            assert report.cached_tokens == (0 if usage == "never" else 2)

    @pytest.mark.parametrize(("length", "reason"), [(3, "stop"), (10**6, "length")])
    def test_done_without_a_reason(self, length: int, reason: str) -> None:
        with setting(Manners(length=length, has_reason=False)) as it:
            report = it.call("q:").report()
            assert (report.reason, report.error) == (reason, None)

    @pytest.mark.parametrize("kind", ["garbage", "error object", "breaks"])
    def test_what_comes_after_the_end_does_no_harm(self, kind: Kind) -> None:
        with setting() as it:
            it.fake.begin({("m", 0): Fault(kind, after=6)})
            recorder = it.call("q:")
            assert recorder.report().error is None
            assert it.written(recorder) == numbers(1, 5)

    def test_a_stream_left_open_after_the_end_is_not_waited_for(self) -> None:
        with setting(Manners(has_done=False, usage="never")) as it:
            it.fake.begin({("m", 0): Fault("hang", after=6)})
            begun = time.monotonic()
            assert it.call("q:").report().error is None
            assert time.monotonic() - begun < 5

    def test_several_tokens_in_a_chunk(self) -> None:
        """Their number is what usage says; the text is what came."""
        with setting(Manners(group=3)) as it:
            recorder = it.call("q:", max_tokens=7)
            assert recorder.report().reason == "length"
            assert len(recorder.ids) == 7
            assert it.written(recorder) == numbers(1, 7)

    def test_ids_count_the_tokens_of_a_chunk(self) -> None:
        with setting(Manners(group=3), profile=replace(IDS, takes_ids=False)) as it:
            recorder = it.call("q:", max_tokens=7)
            recorder.report()
            assert [it.engine.decode([token]) for token in recorder.ids] == [
                " 1 2 3",
                "",
                "",
                " 4 5 6",
                "",
                "",
                " 7",
            ]

    def test_never_shows_more_than_was_asked_for(self) -> None:
        with setting(Manners(over=1000, token_s=0.001)) as it:
            recorder = it.call("q:", max_tokens=3)
            assert recorder.report().reason == "length"
            assert it.written(recorder) == numbers(1, 3)
            wait_until(lambda: it.fake.hung_up == 1)

    @pytest.mark.parametrize("name", ["ignore_eos", "min_tokens"])
    def test_goes_on_past_the_end_where_the_server_can(self, name: str) -> None:
        with setting(profile=ServerProfile("completions", frozenset({name}))) as it:
            it.call("q:", ignore_end=True).report()
            assert it.fake.bodies[0][name] == {"ignore_eos": True, "min_tokens": 5}[name]

    def test_every_call_of_a_text_has_a_seed_of_its_own(self) -> None:
        seeded = ServerProfile("completions", frozenset({"seed"}))
        for profile, settings in (
            (seeded, server_settings("m")),
            (TEXT, replace(server_settings("m"), seed=3)),
        ):
            with setting(profile=profile, settings=settings) as it:
                assert it.call("q:").report().error is None
                assert "seed" not in it.fake.bodies[0]
        with setting(profile=seeded, settings=replace(server_settings("m"), seed=3)) as it:
            places: list[Any] = [("0/a", 0), ("0/a", 0), ("0/a", 7), ("0/b", 0), ("1/a", 0)]
            for text, written in places:
                assert it.call("q:", text=text, written=written).report().error is None
            seeds = [body["seed"] for body in it.fake.bodies]
            assert seeds[0] == seeds[1]
            assert len(set(seeds)) == 4


class TestManyCalls:
    def test_cancelling_closes_the_stream(self) -> None:
        with setting(Manners(token_s=0.01)) as it:
            recorder = it.call("q:", max_tokens=100_000)
            assert recorder.some.wait(10)
            it.engine.cancel((0, 0))
            report = recorder.report()
            assert (report.reason, report.error) == ("cancelled", None)
            wait_until(lambda: it.fake.hung_up == 1 and it.fake.active == 0)

    def test_a_second_call_of_the_same_key_is_told_and_does_no_harm(self) -> None:
        """As when two runtimes share an engine; nobody would hear of its end."""
        with setting(Manners(token_s=0.01)) as it:
            first = it.call("q:", max_tokens=20)
            assert first.some.wait(10)
            second = it.call("q:").report()
            assert "(0, 0) is open already" in str(second.error)
            assert (first.report().error, it.written(first)) == (None, numbers(1, 20))
            assert it.call("q:").report().error is None

    def test_cancelling_what_has_not_begun_or_has_ended(self) -> None:
        with setting(settings=server_settings("m", max_concurrency=1)) as it:
            first, second = Recorder(), Recorder()
            it.engine.submit(EngineCall((0, 0), it.engine.encode("q:"), 50), first)
            it.engine.submit(EngineCall((0, 1), it.engine.encode("q:"), 50), second)
            it.engine.cancel((0, 1))
            assert second.report().reason == "cancelled"
            assert first.report().reason == "length"
            it.engine.cancel((0, 0))
            assert len(it.fake.bodies) == 1

    def test_no_more_at_a_time_than_allowed(self) -> None:
        with setting(settings=server_settings("m", max_concurrency=3)) as it:
            recorders = [Recorder() for _ in range(12)]
            for number, recorder in enumerate(recorders):
                call = EngineCall((0, number), it.engine.encode("q:"), 9)
                it.engine.submit(call, recorder)
            assert {recorder.report().reason for recorder in recorders} == {"length"}
            assert {it.written(recorder) for recorder in recorders} == {numbers(1, 9)}
            assert it.fake.most == 3

    def test_connections_are_used_again(self) -> None:
        with setting() as it:
            for _ in range(5):
                it.call("q:").report()
            assert it.fake.connections == 1

    def test_a_kept_connection_that_was_closed_costs_no_try(self) -> None:
        with setting(Manners(keeps=False), settings=server_settings("m", tries=1)) as it:
            for _ in range(3):
                assert it.call("q:").report().error is None
            assert it.fake.connections == 3
            assert len(it.fake.bodies) == 3

    def test_closing_ends_what_runs(self) -> None:
        with setting(Manners(token_s=0.01)) as it:
            recorder = it.call("q:", max_tokens=100_000)
            assert recorder.some.wait(10)
            it.network.__exit__()
            assert recorder.report().reason == "cancelled"
            it.network.__init__()  # type: ignore[misc]
            it.network.__enter__()


def test_a_silent_server_is_not_kept_alive_by_comments() -> None:
    with setting(Manners(token_s=0.02, comments=10**6), timeout_s=0.3) as it:
        error = it.call("q:").report().error
        assert error is not None
        assert "nothing came for 0.3 s" in error


class TestTextPieces:
    def test_words_without_a_tokenizer(self) -> None:
        pieces = TextPieces("t")
        text = " two words\n\nand  more \n"
        ids = pieces.encode(text)
        assert pieces.decode(ids) == text
        assert [pieces.decode([token]) for token in ids] == [
            " two",
            " words",
            "\n\nand",
            "  more",
            " \n",
        ]

    @given(st.text(max_size=40))
    def test_any_text_stays_as_it_is(self, text: str) -> None:
        for pieces in (TextPieces("t"), TextPieces("t", EMBEDDED)):
            assert pieces.decode(pieces.encode(text)) == text

    def test_a_tokenizer_says_where_tokens_end(self) -> None:
        pieces = TextPieces("t", EMBEDDED)
        ids = pieces.encode("<report> fair in  belmar ")
        assert [pieces.decode([token]) for token in ids] == [
            "<report>",
            " fair",
            " in",
            "  belmar ",
        ]


class TestKey:
    def test_goes_to_the_server_only(self) -> None:
        with setting() as it:
            body = f'{{"error": {{"message": "bad key {KEY}"}}}}'
            it.fake.begin({("m", 0): Fault("status", status=401, body=body)})
            error = it.call("q:").report().error
            assert error is not None
            assert "HTTP 401: bad key ***; api_key_env" in error
            assert it.fake.headers[0]["authorization"] == f"Bearer {KEY}"
            told = [repr(part) for part in (it.engine, it.network, it.engine._server.address)]
            assert not [words for words in told if KEY in words]


# faults

PIPELINE = moa([["a", "b"]], "z")
SCHEDULE = uniform(PIPELINE, constant(6, 6, 6))
LENGTH = 20
HANG_S = 0.6
FAULTS: dict[str, Fault] = {
    "429": Fault("status", status=429),
    "429 with Retry-After": Fault("status", status=429, headers={"Retry-After": "0.05"}),
    "429, come back tomorrow": Fault("status", status=429, headers={"Retry-After": "86400"}),
    "500": Fault("status", status=500),
    "503": Fault("status", status=503, body="<html>busy</html>"),
    "400": Fault("status", status=400),
    "read timeout": Fault("hang"),
    "ends without an end": Fault("ends"),
    "connection breaks": Fault("breaks"),
    "malformed": Fault("garbage"),
    "error object": Fault("error object"),
}
WORDS = {
    "429": "HTTP 429: as scripted",
    "429 with Retry-After": "HTTP 429",
    "429, come back tomorrow": "Retry-After: 86400 s",
    "500": "HTTP 500: as scripted",
    "503": "HTTP 503: <html>busy</html>",
    "400": "HTTP 400: as scripted",
    "read timeout": f"nothing came for {HANG_S:g} s",
    "ends without an end": "the stream ended before the answer did",
    "connection breaks": "the connection broke",
    "malformed": "not a chunk of an answer",
    "error object": "the server broke off: as scripted|not a chunk",
}
# Those that the engine itself gets over if no token was shown, by asking again.
PASSING = ("429", "429 with Retry-After", "500", "503", "ends without an end", "connection breaks")


@dataclass(frozen=True)
class Point:
    """Where the answer's calls go wrong: which call of its staircase, after how many tokens."""

    call: int
    after: int
    is_cut: bool


POINTS = {
    "before the first token": Point(0, 0, False),
    "mid-chunk": Point(1, 3, True),
    "in the last step": Point(3, 1, False),
}


def run(
    faults: Mapping[str, list[tuple[int, Fault]]],
    retries: int,
    tries: int = 2,
    unreachable: tuple[type[httpx.TransportError], Mapping[str, range]] | None = None,
    schedule: Schedule = SCHEDULE,
    hang_s: float = HANG_S,
) -> Outcome:
    """One request, every agent a model of one server; ``faults`` by agent and request number."""
    limited = replace(
        PIPELINE, agents=tuple(replace(agent, max_tokens=LENGTH) for agent in PIPELINE)
    )
    schedule = replace(schedule, retries=retries)
    hangs = any(fault.kind == "hang" for some in faults.values() for _, fault in some)
    with setting(timeout_s=hang_s if hangs else 20.0) as it:
        it.fake.begin({(name, n): fault for name, some in faults.items() for n, fault in some})
        if unreachable:
            client = it.engine._server._client
            client._transport = Unreachable(client._transport, *unreachable)
        served = {
            name: ServedModel(
                OpenAIEngine(
                    it.network,
                    it.engine._server,
                    TEXT,
                    server_settings(name, tries=tries),
                    TextPieces(name),
                ),
                FORM,
            )
            for name in limited.engines
        }
        return Runtime(served).run([Job(limited, schedule, QUESTION)])[0]


def fault_at(point: Point, fault: Fault) -> tuple[int, Fault]:
    return point.call, replace(fault, after=point.after, is_cut=point.is_cut)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", FAULTS)
class TestFaults:
    def test_with_a_retry_the_answer_is_whole(self, name: str, point: str) -> None:
        faults = {"z": [fault_at(POINTS[point], FAULTS[name])]}
        outcome = run(faults, retries=1)
        assert outcome.timeline.error is None
        for agent in PIPELINE:
            assert outcome.texts[agent.name] == numbers(1, LENGTH)
        assert outcome.timeline.written == dict.fromkeys("abz", LENGTH)

    def test_without_one_it_is_whole_or_fails_with_one_line(self, name: str, point: str) -> None:
        where, fault = fault_at(POINTS[point], FAULTS[name])
        outcome = run({"z": [(where, fault)]}, retries=0)
        shown = outcome.texts["z"]
        if name in PASSING and (fault.kind == "status" or fault.after == 0):
            assert outcome.timeline.error is None
            assert shown == numbers(1, LENGTH)
            return
        error = outcome.timeline.error
        assert error is not None
        assert error.startswith("http://127.0.0.1:")
        assert "\n" not in error
        assert [words for words in WORDS[name].split("|") if words in error]
        assert shown == numbers(1, outcome.timeline.written["z"])
        assert len(shown.split()) == 6 * where + (0 if fault.kind == "status" else fault.after)

    def test_of_a_proposer(self, name: str, point: str) -> None:
        """A proposer writes in one call; without retries its text so far is read."""
        fault = replace(FAULTS[name], after=9 * POINTS[point].call, is_cut=POINTS[point].is_cut)
        outcome = run({"a": [(0, fault)]}, retries=0, tries=1)
        assert outcome.timeline.error is None
        assert outcome.texts["z"] == numbers(1, LENGTH)
        written = outcome.timeline.written["a"]
        assert outcome.texts["a"] == (numbers(1, written) if written else "")


class Unreachable(httpx.AsyncBaseTransport):
    """The way to a server that does not get through with some requests of some models."""

    def __init__(
        self,
        way: httpx.AsyncBaseTransport,
        fault: type[httpx.TransportError],
        requests: Mapping[str, range],
    ) -> None:
        self._way = way
        self._fault = fault
        self._requests = requests
        self._counts: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        model = json.loads(request.content)["model"]
        number = self._counts[model]
        self._counts[model] += 1
        if number in self._requests.get(model, ()):
            raise self._fault("as scripted")
        return await self._way.handle_async_request(request)

    async def aclose(self) -> None:
        await self._way.aclose()


@pytest.mark.parametrize("call", [0, 1, 3])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (httpx.ConnectTimeout, "no connection within 10 s"),
        (httpx.ConnectError, "cannot connect (as scripted)"),
    ],
)
class TestConnecting:
    """Before the answer's first call, between its calls, and before its last one."""

    def test_once_is_got_over(
        self, fault: type[httpx.TransportError], said: str, call: int
    ) -> None:
        outcome = run({}, retries=0, unreachable=(fault, {"z": range(call, call + 1)}))
        assert outcome.timeline.error is None
        assert outcome.texts["z"] == numbers(1, LENGTH)

    def test_for_good_is_told(
        self, fault: type[httpx.TransportError], said: str, call: int
    ) -> None:
        outcome = run({}, retries=0, unreachable=(fault, {"z": range(call, 99)}))
        error = outcome.timeline.error
        assert error is not None
        assert error.startswith("http://127.0.0.1:")
        assert error.endswith(said)
        assert outcome.texts["z"] == numbers(1, 6 * call)

    def test_of_a_proposer(self, fault: type[httpx.TransportError], said: str, call: int) -> None:
        outcome = run({}, retries=0, unreachable=(fault, {"a": range(call, 99)}))
        assert outcome.timeline.error is None
        assert outcome.texts["z"] == numbers(1, LENGTH)
        # It writes in one call.
        assert outcome.texts["a"] == ("" if call == 0 else numbers(1, LENGTH))


@pytest.mark.parametrize("after", [0, 9, LENGTH])
@pytest.mark.parametrize("agents", ["a", "ab"])
def test_proposers_that_say_little_or_nothing(agents: str, after: int) -> None:
    outcome = run({name: [(0, Fault("stops", after))] for name in agents}, retries=0)
    assert outcome.timeline.error is None
    assert outcome.texts["z"] == numbers(1, LENGTH)
    assert [outcome.texts[name] for name in agents] == [numbers(1, after)] * len(agents)


class TestTries:
    def test_as_many_as_allowed(self) -> None:
        with setting() as it:
            fault = Fault("status", status=500)
            it.fake.begin({("m", number): fault for number in range(3)})
            assert it.call("q:").report().error is not None
            assert len(it.fake.bodies) == 3

    def test_nothing_that_a_failed_attempt_said_is_left(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The attempt after it is another answer."""
        odd = Chunk(is_reasoning=True, calls_tool=True, unknown_end="odd", usage=Usage(5, 7))
        attempts = iter([[odd], [Chunk("a"), Chunk(is_last=True)]])

        async def stream(*_: object) -> AsyncIterator[Chunk]:
            chunks = next(attempts)
            for chunk in chunks:
                yield chunk
            if chunks == [odd]:
                raise ServerError("broken", may_pass=True)

        with setting() as it:
            monkeypatch.setattr(it.engine._server, "stream", stream)
            heard = serve(it.engine, [it.engine.encode("why")], 5)
        report = heard.reports[0]
        assert (report.reason, report.remark, report.cached_tokens) == ("stop", None, 0)
        assert it.engine.decode(heard.tokens[0]) == "a"

    def test_retry_after_is_kept_to(self) -> None:
        with setting() as it:
            fault = Fault("status", status=429, headers={"Retry-After": "0.3"})
            it.fake.begin({("m", 0): fault})
            begun = time.monotonic()
            assert it.call("q:").report().error is None
            assert time.monotonic() - begun >= 0.3

    def test_a_call_that_waits_to_be_tried_again_can_be_cancelled(self) -> None:
        settings = replace(server_settings("m"), patience=Patience(3, 3600.0, 600.0))
        with setting(settings=settings) as it:
            it.fake.begin({("m", 0): Fault("status", status=500)})
            recorder = it.call("q:")
            wait_until(lambda: len(it.fake.bodies) == 1)
            it.engine.cancel((0, 0))
            assert recorder.report().reason == "cancelled"

    def test_nobody_listens(self) -> None:
        with Network() as network:
            server = network.server(Address("http://127.0.0.1:9", None, 1.0, 1.0))
            engine = OpenAIEngine(network, server, TEXT, server_settings("m"), TextPieces("t"))
            recorder = Recorder()
            engine.submit(EngineCall((0, 0), [], 1), recorder)
            error = recorder.report().error
            assert error is not None
            assert error.startswith("http://127.0.0.1:9: cannot connect")

    def test_a_connection_that_takes_too_long_may_come_later(self) -> None:
        fault = transport_fault(httpx.ConnectTimeout(""), 5.0)
        assert (str(fault), fault.may_pass) == ("no connection within 5 s", True)

    @pytest.mark.parametrize(
        ("status", "may_pass"),
        [
            *((status, False) for status in (400, 401, 404, 422, 501, 505)),
            *((status, True) for status in (408, 409, 425, 429, 500, 503)),
        ],
    )
    def test_which_statuses_may_pass(self, status: int, may_pass: bool) -> None:
        fault = status_fault(status, {}, b'{"detail": "x"}')
        assert (fault.status, fault.may_pass) == (status, may_pass)
        assert str(fault).startswith(f"HTTP {status}: x")

    def test_waits_grow(self) -> None:
        patience, fault = Patience(4, 1.0, 0.25), ServerError("x", may_pass=True)
        assert [patience.wait_s(fault, n) for n in (1, 2, 3, 4)] == [0.25, 0.5, 1.0, None]
        assert patience.wait_s(ServerError("x"), 1) is None
        assert patience.wait_s(ServerError("x", may_pass=True, retry_after_s=0.7), 1) == 0.7
        assert patience.wait_s(ServerError("x", may_pass=True, retry_after_s=7.0), 1) is None

    def test_retry_after(self) -> None:
        assert retry_after_s(None) is None
        assert retry_after_s("2") == 2.0
        assert retry_after_s("soon") is None
        assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


# the probe

STRICT = Manners(
    paths=frozenset({"completions"}),
    fields=frozenset({"stream_options"}),
    takes_ids=False,
    sends_ids=False,
    has_done=False,
)


def probe(
    manners: Manners, *apis: Api, tries: int = 3, temperature: float = 0.0
) -> tuple[ServerProfile, FakeServer]:
    with setting(manners) as it:
        return it.network.run(
            asking(it, tries, temperature).find(apis or ("completions", "chat"))
        ), it.fake


def asking(it: Setting, tries: int, temperature: float = 0.0) -> Probe:
    settings = {"temperature": temperature, "priority": 5}
    return Probe(it.engine._server, "m", settings, Patience(tries, 1.0, 0.01))


class TestProbe:
    def test_a_server_that_can_do_everything(self) -> None:
        profile, fake = probe(Manners())
        names = frozenset(FIELDS) - {"continue_final_message"}
        assert profile == ServerProfile(
            "completions", names, takes_ids=True, returns_ids=True, reports_cached=True
        )
        assert len(fake.bodies) == 7 + len(SCORINGS)

    def test_a_strict_server(self) -> None:
        profile, fake = probe(STRICT)
        fields = frozenset({"stream_options"})
        assert profile == ServerProfile("completions", fields, reports_cached=True)
        assert len(fake.bodies) == 15

    def test_chat_where_there_is_nothing_else(self) -> None:
        profile, _ = probe(Manners(paths=frozenset({"chat/completions"})))
        assert profile.api == "chat"
        assert profile.continues
        assert not profile.takes_ids

    def test_completions_where_the_model_has_no_chat_template(self) -> None:
        """What transformers serve answers to a chat with such a model."""
        profile, _ = probe(Manners(broken_by={"messages": 500}), "chat", "completions", tries=1)
        assert profile.api == "completions"
        with pytest.raises(ServerError, match="HTTP 500"):
            probe(Manners(broken_by={"messages": 500}), "chat", tries=1)

    @pytest.mark.parametrize(
        "manners",
        [
            Manners(fields=frozenset({"stream_options"})),
            Manners(broken_by={"continue_final_message": 500}),
            Manners(assistant="begins anew"),
            Manners(assistant="begins anew", drops_space=True),
            Manners(assistant="begins anew", group=40),
        ],
    )
    def test_chat_that_cannot_continue(self, manners: Manners) -> None:
        profile, _ = probe(manners, "chat")
        assert profile.restates
        assert not profile.continues

    @pytest.mark.parametrize("api", ["completions", "chat"])
    def test_a_server_that_drops_the_space_of_what_it_continues(self, api: Api) -> None:
        profile, _ = probe(Manners(drops_space=True), api)
        assert profile.drops_space
        with setting(profile=profile) as it:
            assert it.call("q:").report().error is None
            error = it.call("q:", own=" 1").report().error
            assert error is not None
            assert "loses the space" in error

    @pytest.mark.parametrize(
        ("options", "first"),
        [
            ({}, "chat"),
            ({"tokenizer": "folder"}, "completions"),
            ({"format": "plain"}, "completions"),
            ({"format": {"own": "Answer: "}}, "completions"),
            ({"model": "embedded"}, "completions"),
            ({"api": "completions"}, "completions"),
        ],
    )
    def test_a_chat_api_is_asked_first_unless_the_format_is_known(
        self, options: dict[str, Any], first: str
    ) -> None:
        given = {"kind": "openai", "base_url": "http://there/v1", "model": "m", **options}
        assert apis_of(OpenAISpec.model_validate(given))[0] == first

    @pytest.mark.parametrize(
        ("options", "is_bare"),
        [({}, True), ({"format": "plain"}, False), ({"api": "chat"}, False)],
    )
    def test_bare_prompts_are_told(self, options: dict[str, Any], is_bare: bool) -> None:
        """Whatever the reason that the chat API is not used."""
        given = {"kind": "openai", "base_url": "http://there/v1", "model": "m", **options}
        spec = OpenAISpec.model_validate(given)
        api: Api = "chat" if options.get("api") == "chat" else "completions"
        with setting(profile=ServerProfile(api)) as it:
            remark = form_of_server(spec, it.engine)[1]
        assert (remark is not None and "name its tokenizer" in remark) == is_bare

    def test_neither(self) -> None:
        with pytest.raises(ServerError, match="HTTP 404: Not Found; look at base_url"):
            probe(Manners(paths=frozenset()))

    def test_a_server_that_is_busy(self) -> None:
        with setting() as it:
            it.fake.begin({("m", 0): Fault("status", status=503)})
            asking = Probe(it.engine._server, "m", {}, Patience(2, 1.0, 0.01))
            assert it.network.run(asking.find(["completions"])).api == "completions"

    @pytest.mark.parametrize("api", ["completions", "chat"])
    def test_a_server_with_another_name_for_the_limit(self, api: Api) -> None:
        manners = Manners(limit="max_completion_tokens", fields=frozenset({"stream_options"}))
        profile, _ = probe(manners, api)
        assert profile.limit == "max_completion_tokens"
        with setting(manners, profile) as it:
            recorder = it.call("q:", max_tokens=4)
            assert recorder.report().reason == "length"
            assert it.written(recorder) == numbers(1, 4)
            assert it.fake.bodies[0].keys() >= {"max_completion_tokens"}
            assert "max_tokens" not in it.fake.bodies[0]

    def test_of_two_faults_the_one_about_more_than_the_limit_is_told(self) -> None:
        manners = Manners(
            limit="max_completion_tokens", paths=frozenset({"chat/completions"}), takes_greedy=False
        )
        with pytest.raises(ServerError, match="HTTP 400: temperature"):
            probe(manners)

    def test_nothing_is_sent_that_was_refused(self) -> None:
        profile, _ = probe(STRICT)
        settings = replace(server_settings("m"), fields={"temperature": 0.0, "priority": 5})
        settings = replace(settings, seed=1)
        with setting(STRICT, profile, settings) as it:
            assert it.call("q:", ignore_end=True).report().error is None

    def test_what_the_scenario_asks_for_is_sent_where_it_can_be(self) -> None:
        profile, _ = probe(Manners())
        settings = replace(server_settings("m"), fields={"temperature": 0.0, "priority": 5})
        with setting(Manners(), profile, settings) as it:
            it.call("q:").report()
            assert it.fake.bodies[0]["priority"] == 5
