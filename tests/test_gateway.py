"""What clients of the gateway get: the openai package, and the bytes themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from executor.gateway.app import Settings
from executor.gateway.gate import Gate
from executor.gateway.keys import Key, Keys
from tests.support.gateway_server import PLAN, TOKENS, Running, plan_on, running, scripted
from tests.support.scripted_engine import ScriptedEngine

WHOLE = "".join(map(chr, range(1, TOKENS + 1)))
ASKED: Any = [{"role": "user", "content": "why"}]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(plan_on(scripted()), plan_on(scripted(), "other", most=10)) as found:
        yield found


def events(server: Running, path: str = "chat/completions", **body: Any) -> list[Any]:
    """The data of a stream, parsed; comments as they are."""
    asked = {"model": PLAN, "stream": True} | body
    if path.startswith("chat"):
        asked.setdefault("messages", ASKED)
    else:
        asked.setdefault("prompt", "why")
    with httpx.stream("POST", f"{server.url}/{path}", json=asked, timeout=20) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    data = [line.removeprefix("data: ") for line in lines]
    return [json.loads(one) if one.startswith("{") else one for one in data]


def refused(server: Running, **body: Any) -> dict[str, Any]:
    asked = {"model": PLAN, "messages": ASKED} | body
    answer = httpx.post(f"{server.url}/chat/completions", json=asked, timeout=20)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return dict(error)


class TestStream:
    def test_role_tokens_usage_and_the_end(self, server: Running) -> None:
        found = events(server, stream_options={"include_usage": True})
        role, *tokens, last, usage, end = found
        assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        deltas = [one["choices"][0]["delta"] for one in tokens]
        assert [delta["content"] for delta in deltas] == list(WHOLE)
        assert {one["choices"][0]["finish_reason"] for one in tokens} == {None}
        assert last["choices"][0]["finish_reason"] == "stop"
        assert last["choices"][0]["delta"] == {"content": ""}
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == TOKENS
        assert usage["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
        assert set(usage["staircase"]["agents"]) == {"ann", "bo", "ed"}
        assert end == "[DONE]"
        assert len({one["id"] for one in found[:-1]}) == 1
        assert {one["object"] for one in found[:-1]} == {"chat.completion.chunk"}

    def test_the_last_token_says_that_the_limit_is_reached(self, server: Running) -> None:
        """With a limit below a step's, within one, and beyond."""
        for most in (1, 3, 7, 12):
            *_, last, end = events(server, max_tokens=most)
            assert last["choices"][0]["delta"]["content"] == WHOLE[most - 1]
            assert last["choices"][0]["finish_reason"] == "length"
            assert end == "[DONE]"

    def test_completions_have_no_role(self, server: Running) -> None:
        *tokens, end = events(server, "completions")
        assert "".join(one["choices"][0]["text"] for one in tokens) == WHOLE
        assert tokens[-1]["choices"][0]["finish_reason"] == "stop"
        assert end == "[DONE]"

    def test_silence_is_told_by_comments(self) -> None:
        slow = scripted(ann=ScriptedEngine(TOKENS, prefill_s=0.4))
        with running(plan_on(slow), settings=Settings(keep_alive_s=0.1)) as server:
            found = events(server)
        first = next(place for place, one in enumerate(found) if isinstance(one, dict))
        assert first >= 2
        assert all(one.startswith(": ") for one in found[:first])

    def test_drafts_are_reasoning_where_the_plan_says_so(self) -> None:
        """One token of a script is a line's end."""
        with running(plan_on(scripted(), shows_drafts=True)) as server:
            found = events(server, model=f"{PLAN}@normal")
        deltas = [one["choices"][0]["delta"] for one in found[:-1]]
        shown = [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta]
        assert sorted(text.split("]")[0] for text in shown) == ["[ann", "[bo"]
        assert "".join(delta.get("content", "") for delta in deltas) == WHOLE


class TestOpenAIClient:
    def test_chat(self, server: Running) -> None:
        answer = server.client().chat.completions.create(model=PLAN, messages=ASKED)
        assert answer.choices[0].message.content == WHOLE
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage
        assert answer.usage.completion_tokens == TOKENS

    def test_chat_streamed(self, server: Running) -> None:
        chunks = server.client().chat.completions.create(model=PLAN, messages=ASKED, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WHOLE

    def test_completions(self, server: Running) -> None:
        answer = server.client().completions.create(model=PLAN, prompt="why", max_tokens=5)
        assert answer.choices[0].text == WHOLE[:5]
        assert answer.choices[0].finish_reason == "length"

    def test_completions_streamed(self, server: Running) -> None:
        chunks = server.client().completions.create(model=PLAN, prompt="why", stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == WHOLE

    def test_models(self, server: Running) -> None:
        names = [one.id for one in server.client().models.list()]
        expected = [n + p for n in (PLAN, "other") for p in ("", "@normal", "@single")]
        assert names == expected
        assert [server.client().models.retrieve(name).id for name in names] == names
        with pytest.raises(openai.NotFoundError):
            server.client().models.retrieve("nobody")

    @pytest.mark.parametrize("point", ["", "@normal", "@single"])
    def test_points_by_name(self, server: Running, point: str) -> None:
        raw = server.client().chat.completions.with_raw_response
        answer = raw.create(model=PLAN + point, messages=ASKED)
        assert answer.headers["staircase-schedule"] == (point.removeprefix("@") or "chosen")
        told: Any = answer.parse().model_extra
        agents = {"ed"} if point == "@single" else {"ann", "bo", "ed"}
        assert told["staircase"]["agents"].keys() == agents

    def test_an_unknown_model(self, server: Running) -> None:
        for name in ("nobody", f"{PLAN}@nowhere", "@normal", ""):
            with pytest.raises(openai.NotFoundError, match="no model") as caught:
                server.client().chat.completions.create(model=name, messages=ASKED)
            assert caught.value.code == "model_not_found"

    def test_several_plans(self, server: Running) -> None:
        answer = server.client().chat.completions.create(model="other", messages=ASKED)
        assert answer.choices[0].message.content == WHOLE[:10]


class TestFields:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("n", 2),
            ("logprobs", True),
            ("logprobs", 0),
            ("logit_bias", {"5": 1}),
            ("presence_penalty", 0.5),
            ("response_format", {"type": "json_object"}),
            ("tools", [{"type": "function", "function": {"name": "f"}}]),
            ("temperature", 0.7),
            ("temperature", -1),
            ("max_tokens", 0),
            ("max_tokens", 513),
            ("min_tokens", 3),
            ("stop", [""]),
            ("deadline_s", 0),
            ("messages", []),
            ("messages", [{"role": "assistant", "content": "x"}]),
            ("messages", [{"role": "tool", "content": "x"}]),
            ("messages", [{"role": "user", "content": [{"type": "image_url"}]}]),
            ("inputs", {"nobody": "x"}),
        ],
    )
    def test_what_cannot_be_had_is_refused_by_its_name(
        self, server: Running, field: str, value: Any
    ) -> None:
        error = refused(server, **{field: value})
        assert error["param"].startswith(field)
        assert field in error["message"]
        assert error["type"] == "invalid_request_error"
        assert error["code"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"n": 1, "logprobs": False, "logit_bias": {}, "presence_penalty": 0.0},
            {"temperature": 0, "top_p": 0.9, "top_k": -1, "seed": 5},
            {"response_format": {"type": "text"}, "tools": [], "tool_choice": "none"},
            {"user": "u", "metadata": {"a": "b"}, "store": None, "never_heard_of": [1]},
            {"n": None, "stop": None, "max_tokens": None, "stream_options": None},
        ],
    )
    def test_what_changes_nothing_is_accepted(self, server: Running, fields: Any) -> None:
        asked = {"model": PLAN, "messages": ASKED} | fields
        answer = httpx.post(f"{server.url}/chat/completions", json=asked, timeout=20)
        assert answer.json()["choices"][0]["message"]["content"] == WHOLE

    def test_stop_texts_end_the_answer(self, server: Running) -> None:
        """Also one whose beginning came before, and which is cut by tokens and steps."""
        stop = WHOLE[8:11]
        found = events(server, stop=["never", stop], stream_options={"include_usage": True})
        texts = [one["choices"][0]["delta"]["content"] for one in found[:-2]]
        assert "".join(texts) == WHOLE[:8]
        assert found[-3]["choices"][0]["finish_reason"] == "stop"
        assert found[-2]["usage"]["completion_tokens"] == 11
        whole = server.client().chat.completions.create(model=PLAN, messages=ASKED, stop=stop)
        assert whole.choices[0].message.content == WHOLE[:8]

    def test_the_beginning_of_a_stop_text_is_shown_in_the_end(self, server: Running) -> None:
        answer = server.client().chat.completions.create(
            model=PLAN, messages=ASKED, stop=WHOLE[-2:] + "more"
        )
        assert answer.choices[0].message.content == WHOLE

    def test_a_body_that_is_too_large(self) -> None:
        with running(plan_on(scripted()), settings=Settings(most_bytes=1000)) as server:
            body = {"model": PLAN, "messages": [{"role": "user", "content": "x" * 1000}]}
            answer = httpx.post(f"{server.url}/chat/completions", json=body)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[1]",
            b"\xff",
            b"null",
            b"[" * 100_000,
            b'{"model": "panel", "prompt": "\\ud800"}',
            b'{"model": "panel", "prompt": "x", "temperature": NaN}',
        ],
    )
    def test_a_body_that_is_none(self, server: Running, content: bytes) -> None:
        answer = httpx.post(
            f"{server.url}/completions",
            content=content,
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


class TestGate:
    @pytest.mark.parametrize(
        ("gate", "asked", "schedule"),
        [
            (Gate(shorter_than=10), "short", "single"),
            (Gate(shorter_than=3), "short", "chosen"),
            (Gate(classifier=lambda text: text == "one"), "one", "single"),
            (Gate(classifier=lambda text: text == "one"), "two", "chosen"),
        ],
    )
    def test_sends_requests_to_one_model(self, gate: Gate, asked: str, schedule: str) -> None:
        with running(plan_on(scripted(), gate=gate)) as server:
            body = {"model": PLAN, "messages": [{"role": "user", "content": asked}]}
            answer = httpx.post(f"{server.url}/chat/completions", json=body)
            metrics = httpx.get(f"{server.base}/metrics").text
        assert answer.headers["staircase-schedule"] == schedule
        assert ('staircase_gated_total{plan="panel"} 1.0' in metrics) == (schedule == "single")

    def test_a_classifier_that_fails_is_no_answer(self) -> None:
        def broken(text: str) -> object:
            raise ValueError(text)

        with running(plan_on(scripted(), gate=Gate(classifier=broken))) as server:
            body = {"model": PLAN, "messages": ASKED}
            answer = httpx.post(f"{server.url}/chat/completions", json=body)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"


class TestKeys:
    KEYS = Keys({"anna": Key("sesame"), "bert": Key("open", concurrency=1)})

    def test_only_those_that_are_known_may_ask(self) -> None:
        with running(plan_on(scripted()), keys=self.KEYS) as server:
            for key in ("wrong", "sesam", "sesame2"):
                with pytest.raises(openai.AuthenticationError):
                    server.client(key).chat.completions.create(model=PLAN, messages=ASKED)
            assert httpx.get(f"{server.url}/models").status_code == 401
            assert httpx.get(f"{server.base}/metrics").status_code == 401
            assert httpx.get(f"{server.base}/health").status_code == 200
            assert httpx.get(f"{server.base}/ready").status_code == 200
            for key in ("sesame", "open"):
                client = server.client(key)
                answer = client.chat.completions.create(model=PLAN, messages=ASKED)
                assert answer.choices[0].message.content == WHOLE

    def test_no_more_at_a_time_than_a_key_may(self) -> None:
        with running(plan_on(scripted()), keys=self.KEYS) as server:
            client = server.client("open")
            first = client.chat.completions.create(model=PLAN, messages=ASKED, stream=True)
            next(iter(first))
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(model=PLAN, messages=ASKED)
            assert len(list(first)) > 1
            client.chat.completions.create(model=PLAN, messages=ASKED)


def test_metrics_count_what_was_answered() -> None:
    with running(plan_on(scripted())) as server:
        events(server)
        events(server, model=f"{PLAN}@normal", max_tokens=3)
        text = httpx.get(f"{server.base}/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    of = f'plan="{PLAN}",schedule='
    assert lines[f'staircase_requests_total{{ended="stop",{of}"chosen"}}'] == "1.0"
    assert lines[f'staircase_ttft_seconds_count{{{of}"chosen"}}'] == "1.0"
    gaps = f'staircase_inter_token_latency_seconds_count{{{of}"normal"}}'
    assert lines[gaps] == "2.0"
    ratio = f'staircase_measured_over_forecast_ratio_count{{figure="ttft",{of}"chosen"}}'
    assert lines[ratio] == "1.0"
    made = f'staircase_completion_tokens_total{{agent="ed",plan="{PLAN}"}}'
    assert float(lines[made]) == TOKENS + 3


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    dashboard = Path(__file__).parents[1] / "examples" / "serve" / "grafana.json"
    asked = set(re.findall(r"staircase_[a-z_]+", dashboard.read_text()))
    with running(plan_on(scripted())) as server:
        events(server)
        text = httpx.get(f"{server.base}/metrics").text
    there = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    assert {re.sub("_bucket$", "", name) for name in asked} <= there
