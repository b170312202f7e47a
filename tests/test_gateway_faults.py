"""The gateway when engines, clients or the clock do not behave."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from executor.engine import CallReport, EngineCall, Key, Listener
from executor.gateway.served_plan import ServingLimits
from tests.support.gateway_server import PLAN, TOKENS, Running, plan_on, running, scripted
from tests.support.scripted_engine import ScriptedEngine

WHOLE = "".join(map(chr, range(1, TOKENS + 1)))
ASKED: Any = [{"role": "user", "content": "why"}]
SOON_S = 0.5
# So long that whoever waits for it was wrong to.
NEVER_S = 60.0
SECRET = "http://gpu7:8000/v1: HTTP 500: my prompt"


class Failing(ScriptedEngine):
    """Its call fails after so many tokens of the text; the first ``times`` times."""

    def __init__(self, after: int, times: int = 1000) -> None:
        super().__init__(TOKENS)
        self._after = after
        self._left = times

    def submit(self, call: EngineCall, listener: Listener) -> None:
        stops = self._left > 0 and call.written <= self._after < call.written + call.max_tokens
        self._left -= stops
        super().submit(call, _Cut(listener, self._after - call.written) if stops else listener)


class _Cut:
    def __init__(self, listener: Listener, room: int) -> None:
        self._listener = listener
        self._room = room

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self._room -= 1
        if self._room >= 0:
            self._listener.on_token(key, token, time_ns)

    def on_end(self, key: Key, report: CallReport) -> None:
        now = time.perf_counter_ns()
        self._listener.on_end(key, CallReport("cancelled", now, now, 0, 0, SECRET))


class Counting(ScriptedEngine):
    """Knows how many of its calls have not ended."""

    def __init__(self, length: int, prefill_s: float = 0.002, token_s: float = 0.001) -> None:
        super().__init__(length, prefill_s, token_s)
        self.open = 0

    def _serve(self, call: EngineCall, listener: Listener) -> None:
        self.open += 1
        try:
            super()._serve(call, listener)
        finally:
            self.open -= 1


def post(server: Running, **body: Any) -> httpx.Response:
    asked = {"model": PLAN, "messages": ASKED} | body
    return httpx.post(f"{server.url}/chat/completions", json=asked, timeout=30)


def streamed(server: Running, **body: Any) -> list[Any]:
    asked = {"model": PLAN, "messages": ASKED, "stream": True} | body
    with httpx.stream("POST", f"{server.url}/chat/completions", json=asked, timeout=30) as answer:
        data = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    return [json.loads(one) if one.startswith("{") else one for one in data]


def text_of(found: Sequence[Any]) -> str:
    chunks = [one for one in found if isinstance(one, dict) and one.get("choices")]
    return "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)


def wait_for(is_so: Callable[[], bool], seconds: float = SOON_S * 4) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


class TestEngines:
    @pytest.mark.parametrize("after", [0, 7, 20])
    def test_a_proposer_that_fails_is_told_as_missing(self, after: int) -> None:
        with running(plan_on(scripted(ann=Failing(after)))) as server:
            answer = post(server)
            chunks = streamed(server)
        assert answer.json()["choices"][0]["message"]["content"] == WHOLE
        words = "in part: failed" if after else "failed"
        assert answer.json()["staircase"]["missing"] == {"ann": words}
        assert text_of(chunks) == WHOLE
        assert "ann" in chunks[-2]["staircase"]["missing"]

    @pytest.mark.parametrize("after", [0, 7, 20])
    def test_an_answer_that_fails_is_an_error(self, after: int) -> None:
        with running(plan_on(scripted(ed=Failing(after)))) as server:
            answer = post(server)
            chunks = streamed(server) if after else []
            if after:
                with pytest.raises(openai.APIError, match="'ed' failed"):
                    list(server.client().chat.completions.create(
                        model=PLAN, messages=ASKED, stream=True))  # fmt: skip
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "engine_failed"
        assert "gpu7" not in answer.text
        if after:
            assert text_of(chunks) == WHOLE[:after]
            assert chunks[-1]["error"]["code"] == "engine_failed"

    def test_before_the_first_token_a_stream_fails_by_its_status(self) -> None:
        with running(plan_on(scripted(ed=Failing(0)))) as server:
            assert post(server, stream=True).status_code == 502

    @pytest.mark.parametrize("after", [0, 7, 20])
    def test_with_a_retry_the_answer_is_whole(self, after: int) -> None:
        with running(plan_on(scripted(ed=Failing(after, times=1)), retries=1)) as server:
            assert post(server).json()["choices"][0]["message"]["content"] == WHOLE

    def test_an_empty_answer_is_one(self) -> None:
        with running(plan_on(scripted(ed=ScriptedEngine(0)))) as server:
            choice = post(server).json()["choices"][0]
            chunks = streamed(server)
        assert choice["message"]["content"] == ""
        assert choice["finish_reason"] == "stop"
        assert chunks[-1] == "[DONE]"


class Unreadable(Counting):
    """Its tokens cannot be decoded any more after the fifth."""

    def decode(self, ids: Sequence[int]) -> str:
        if 6 in ids:
            raise ValueError(SECRET)
        return super().decode(ids)


def test_whatever_breaks_in_the_gateway_no_call_goes_on() -> None:
    engines = {
        "ann": Counting(100_000),
        "bo": Counting(100_000),
        "ed": Unreadable(100_000, token_s=0.01),
    }
    with running(plan_on(scripted(**engines), most=100_000)) as server:
        answer = post(server)
        wait_for(lambda: not any(engine.open for engine in engines.values()))
        found = streamed(server)
        wait_for(lambda: not any(engine.open for engine in engines.values()))
    assert answer.status_code == 500
    assert found[-1]["error"]["code"] == "internal_error"
    assert "gpu7" not in answer.text


class TestClientsThatLeave:
    @pytest.mark.parametrize("model", [PLAN, f"{PLAN}@normal"])
    def test_all_calls_are_cancelled(self, model: str) -> None:
        """While proposers write, and while the answer does."""
        engines = {name: Counting(400, token_s=0.01) for name in ("ann", "bo", "ed")}
        with running(plan_on(scripted(**engines))) as server:
            client = server.client()
            with pytest.raises(openai.APITimeoutError):
                client.with_options(timeout=0.3).chat.completions.create(
                    model=model, messages=ASKED
                )
            wait_for(lambda: not any(engine.open for engine in engines.values()))
            wait_for(lambda: not server.gateway.running)
            stream = client.chat.completions.create(model=PLAN, messages=ASKED, stream=True)
            next(stream)
            stream.close()
            client.close()
            wait_for(lambda: not any(engine.open for engine in engines.values()))
            metrics = httpx.get(f"{server.base}/metrics").text
        assert 'ended="client"' in metrics

    def test_in_the_queue(self) -> None:
        slow = scripted(ed=ScriptedEngine(100, token_s=0.01))
        with running(plan_on(slow, limits=ServingLimits(concurrency=1))) as server:
            client = server.client()
            first = client.chat.completions.create(model=PLAN, messages=ASKED, stream=True)
            next(first)
            with pytest.raises(openai.APITimeoutError):
                client.with_options(timeout=0.2).chat.completions.create(model=PLAN, messages=ASKED)
            wait_for(lambda: len(server.gateway.running) == 1)
            assert len(list(first)) > 100

    def test_a_slow_reader_holds_nobody_up(self) -> None:
        with running(plan_on(scripted())) as server:
            body = {"model": PLAN, "messages": ASKED, "stream": True}
            with httpx.stream("POST", f"{server.url}/chat/completions", json=body) as slow:
                lines = slow.iter_lines()
                next(lines)
                wait_for(lambda: not server.gateway.running)
                assert post(server).status_code == 200
                rest = list(lines)
        assert rest[-2] == "data: [DONE]"


class TestDeadlines:
    def test_a_late_proposer_is_left_at_what_it_said(self) -> None:
        slow = scripted(bo=ScriptedEngine(10_000, token_s=0.02))
        with running(plan_on(slow, most=100_000)) as server:
            answer = post(server, model=f"{PLAN}@normal", deadline_s=1.0).json()
        assert answer["choices"][0]["message"]["content"] == WHOLE
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["staircase"]["late"] == ["bo"]

    def test_one_that_says_nothing_is_left_too(self) -> None:
        with running(plan_on(scripted(bo=ScriptedEngine(9, prefill_s=NEVER_S)))) as server:
            answer = post(server, deadline_s=0.5).json()
        assert answer["choices"][0]["message"]["content"] == WHOLE
        assert answer["staircase"]["late"] == ["bo"]
        assert "bo" in answer["staircase"]["missing"]

    def test_the_answer_is_cut_and_says_so(self) -> None:
        slow = scripted(ed=ScriptedEngine(10_000, token_s=0.02))
        with running(plan_on(slow, most=100_000)) as server:
            found = streamed(server, deadline_s=0.5)
        assert found[-2]["choices"][0]["finish_reason"] == "length"
        assert found[-2]["staircase"]["ended_by"] == "deadline"
        assert 0 < len(text_of(found)) < 30

    def test_without_a_token_there_is_no_answer(self) -> None:
        with running(plan_on(scripted(ed=ScriptedEngine(9, prefill_s=NEVER_S)))) as server:
            answer = post(server, deadline_s=0.3)
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "deadline_exceeded"

    def test_that_passes_in_the_queue(self) -> None:
        slow = scripted(ed=ScriptedEngine(100, token_s=0.01))
        with running(plan_on(slow, limits=ServingLimits(concurrency=1))) as server:
            first = server.client().chat.completions.create(model=PLAN, messages=ASKED, stream=True)
            next(first)
            answer = post(server, deadline_s=0.2)
            list(first)
        assert answer.status_code == 504

    def test_by_header_and_by_plan(self) -> None:
        slow = scripted(ed=ScriptedEngine(10_000, token_s=0.02))
        limits = ServingLimits(deadline_s=0.4)
        with running(
            plan_on(slow, most=100_000), plan_on(slow, "hasty", most=100_000, limits=limits)
        ) as server:
            url, body = f"{server.url}/chat/completions", {"model": PLAN, "messages": ASKED}
            by_header = httpx.post(url, json=body, headers={"staircase-deadline-s": "0.4"})
            by_plan = httpx.post(url, json=body | {"model": "hasty"})
            wrong = httpx.post(url, json=body, headers={"staircase-deadline-s": "soon"})
        for answer in (by_header, by_plan):
            assert answer.json()["staircase"]["ended_by"] == "deadline"
        assert wrong.status_code == 400


class TestLoad:
    def test_schedules_get_cheaper_before_anybody_is_turned_away(self) -> None:
        slow = scripted(ed=ScriptedEngine(TOKENS, token_s=0.005))
        limits = ServingLimits(concurrency=2, queue=6)
        with running(plan_on(slow, limits=limits)) as server, ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: post(server), range(20)))
        served = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(served) + len(refused) == 20
        assert len(served) >= 8
        assert refused
        for answer in refused:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["type"] == "rate_limit_error"
        names = {answer.headers["staircase-schedule"] for answer in served}
        assert {"chosen", "single"} <= names
        for answer in served:
            assert answer.json()["choices"][0]["message"]["content"] == WHOLE

    def test_who_names_a_point_gets_it_under_load(self) -> None:
        slow = scripted(ed=ScriptedEngine(TOKENS, token_s=0.005))
        limits = ServingLimits(concurrency=1, queue=8)
        with running(plan_on(slow, limits=limits)) as server, ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: post(server, model=f"{PLAN}@normal"), range(8)))
        assert {answer.headers["staircase-schedule"] for answer in answers} == {"normal"}


@pytest.mark.slow
def test_a_connection_may_rest() -> None:
    """As long as httpx keeps it, and the openai SDK with it, and longer."""
    with running(plan_on(scripted())) as server:
        connection = http.client.HTTPConnection(server.base.removeprefix("http://"))
        for rest_s in (0, 7):
            time.sleep(rest_s)
            connection.request("GET", "/health")
            answer = connection.getresponse()
            assert (answer.status, answer.read() is not None) == (200, True)
            # It is not opened again.
            connection.auto_open = 0
        connection.close()


class TestShutdown:
    def test_streams_end_and_new_requests_are_told(self) -> None:
        slow = scripted(ed=ScriptedEngine(60, token_s=0.01))
        with running(plan_on(slow)) as server:
            stream = server.client().chat.completions.create(
                model=PLAN, messages=ASKED, stream=True
            )
            next(stream)
            server.server.handle_exit(signal.SIGTERM, None)
            assert post(server).status_code == 503
            assert httpx.get(f"{server.base}/ready").status_code == 503
            assert len("".join(c.choices[0].delta.content or "" for c in stream)) == 60

    def test_without_a_token_there_is_no_answer(self) -> None:
        slow = scripted(ed=ScriptedEngine(9, prefill_s=NEVER_S))
        with running(plan_on(slow), grace_s=0.2) as server:
            threading.Timer(0.2, server.server.handle_exit, (signal.SIGTERM, None)).start()
            assert post(server).status_code == 503

    def test_after_the_grace_period_answers_end_where_they_are(self) -> None:
        slow = scripted(ed=ScriptedEngine(10_000, token_s=0.01))
        with running(plan_on(slow, most=100_000), grace_s=0.3) as server:
            threading.Timer(0.3, server.server.handle_exit, (signal.SIGTERM, None)).start()
            found = streamed(server)
        assert found[-1] == "[DONE]"
        assert found[-2]["choices"][0]["finish_reason"] == "length"
        assert found[-2]["staircase"]["ended_by"] == "shutdown"
