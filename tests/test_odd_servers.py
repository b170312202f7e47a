"""Servers that say things in ways of their own: what is read, what is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from executor.openai.server_faults import ServerError
from executor.openai.server_profile import Api, ServerProfile
from tests.support.backends import server_settings
from tests.support.fake_server import Fault, Manners
from tests.test_openai_engine import CHAT, TEXT, asking, numbers, probe, setting


def event(**choice: Any) -> str:
    return json.dumps({"choices": [choice]})


def text(words: str, reason: Any = None) -> str:
    return event(text=words, finish_reason=reason)


def delta(reason: Any = None, **parts: Any) -> str:
    return event(delta=parts, finish_reason=reason)


def usage(tokens: int, reasoning: int | None = None) -> str:
    details = {} if reasoning is None else {"reasoning_tokens": reasoning}
    counts = {"completion_tokens": tokens, "completion_tokens_details": details}
    return json.dumps({"choices": [], "usage": counts})


def answered(script: list[str], profile: ServerProfile = TEXT) -> tuple[list[str], Any]:
    """The pieces that were shown, and the call's report."""
    with setting(Manners(script=script), profile, server_settings("m", tries=1)) as it:
        recorder = it.call("q:", max_tokens=9)
        report = recorder.report()
        return [it.engine.decode([token]) for token in recorder.ids], report


class TestEnds:
    @pytest.mark.parametrize("word", ["null", "None", "NULL", "", None])
    def test_no_reason_in_any_spelling_ends_nothing(self, word: Any) -> None:
        pieces, report = answered([text("a", word), text("b", word), text("", "stop")])
        assert pieces == ["a", "b"]
        assert (report.reason, report.error, report.remark) == ("stop", None, None)

    @pytest.mark.parametrize("has_done", [True, False])
    def test_an_unknown_reason_ends_where_nothing_follows(self, has_done: bool) -> None:
        script = [text("a", "going"), text("b", "going"), text("", "gone")]
        pieces, report = answered([*script, usage(2), *(["[DONE]"] if has_done else [])])
        assert pieces == ["a", "b"]
        assert (report.reason, report.error) == ("stop", None)
        assert report.remark == "ended by finish_reason 'gone'"

    def test_an_unknown_reason_with_text_after_it_is_no_end(self) -> None:
        pieces, report = answered([text("a", "going"), text("b")])
        assert pieces == ["a", "b"]
        assert "the stream ended before the answer did" in report.error

    @pytest.mark.parametrize(
        ("script", "remark"),
        [
            ([delta("content_filter")], "refused"),
            ([delta(refusal="I "), delta("stop", refusal="cannot")], "refused"),
            ([delta(tool_calls=[{"index": 0}]), delta("tool_calls")], "called a tool"),
            ([delta(reasoning_content="hm"), delta("length")], "only reasoned"),
        ],
    )
    def test_what_comes_in_place_of_text_is_told(self, script: list[str], remark: str) -> None:
        pieces, report = answered(script, CHAT)
        assert (pieces, report.error, report.remark) == ([], None, remark)


class TestEvents:
    @pytest.mark.parametrize(
        "aside", ['{"type": "ping"}', '{"usage": {"completion_tokens": 2}}', '{"choices": null}']
    )
    def test_those_without_choices_are_read_over(self, aside: str) -> None:
        pieces, report = answered([aside, text("a"), aside, text("b", "stop"), aside, "[DONE]"])
        assert pieces == ["a", "b"]
        assert report.error is None

    def test_what_a_stream_said_beside_its_answer_is_quoted_where_it_breaks(self) -> None:
        _, report = answered([text("a"), '{"code": 1113, "msg": "no credit"}'])
        assert "the stream ended before the answer did" in report.error
        assert "no credit" in report.error

    def test_content_may_be_a_list_of_parts(self) -> None:
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
        parts = [[thought], [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]]
        script = [delta(content=some) for some in parts]
        pieces, report = answered([*script, delta("stop", content=[])], CHAT)
        assert pieces == ["ab"]
        assert report.error is None


class TestReasoning:
    THOUGHTS = (delta(reasoning_content="well"), delta(reasoning="now"))

    @pytest.mark.parametrize("reasoning", [None, 7])
    def test_is_no_part_of_the_answer(self, reasoning: int | None) -> None:
        """A is two tokens of the server's."""
        script = [*self.THOUGHTS, delta(content="A"), delta(content="b"), delta("length")]
        pieces, report = answered([*script, usage(10 if reasoning else 3, reasoning)], CHAT)
        assert pieces == (["A", "b", ""] if reasoning else ["A", "b"])
        assert report.reason == "length"

    def test_of_which_nothing_is_shown_gives_no_tokens(self) -> None:
        pieces, report = answered([delta("length"), usage(9)], CHAT)
        assert pieces == []
        assert report.reason == "length"

    def test_has_no_tokens_of_the_answer_where_ids_are_told(self) -> None:
        thought = event(delta={"reasoning_content": "hm"}, token_ids=[4, 5])
        said = event(delta={"content": "a"}, token_ids=[6])
        assert answered([thought, said, delta("stop")], CHAT)[0] == ["a"]


PAGE = "<!doctype html>\n<html><head>\n<title>Sign in\n</title></head>\n<p>https://x/</p></html>"


class TestNoStream:
    """An answer with status 200 that is no event stream, or breaks off as none."""

    @pytest.mark.parametrize("after", [0, 2])
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ('{"error": {"message": "no such model"}}', "the server broke off: no such model"),
            ('{\n "error": "no such model"\n}\n', "the server broke off: no such model"),
            ('{"code": 1113, "msg": "no credit"}', 'but JSON: {"code": 1113, "msg": "no credit"}'),
            ('{"choices": [{"text": "whole"}]}', "not an event stream but JSON"),
            ("[1, 2]", "not an event stream but JSON"),
            (PAGE, "not an event stream: a web page, Sign in; look at base_url"),
            ("upstream timed out", "not an event stream: upstream timed out"),
            ("error: out of memory\n\n", "the server broke off: out of memory"),
            ('error: {"message": "out of memory"}\n', "the server broke off: out of memory"),
            ('event: error\ndata: {"message": "full"}\n\n', "the server broke off: full"),
        ],
    )
    def test_is_told_once_in_the_servers_words(self, body: str, words: str, after: int) -> None:
        with setting() as it:
            it.fake.begin({("m", 0): Fault("raw", after, body=body)})
            recorder = it.call("q:")
            error = recorder.report().error
            assert error is not None
            assert error.startswith(f"{it.fake.url}: ")
            assert words in error
            assert "\n" not in error
            assert it.written(recorder) == numbers(1, after)
            assert len(it.fake.bodies) == 1


class TestProbe:
    @pytest.mark.parametrize("api", ["completions", "chat"])
    @pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
    def test_a_server_that_wants_more_tokens(self, api: Api, limit: str) -> None:
        manners = Manners(least_tokens=16, limit=limit)
        profile, _ = probe(manners, api)
        assert (profile.limit, profile.least_tokens) == (limit, 16)
        with setting(manners, profile) as it:
            recorder = it.call("q:", max_tokens=3)
            assert recorder.report().reason == "length"
            assert it.written(recorder) == numbers(1, 3)

    @pytest.mark.parametrize("status", [500, 503])
    @pytest.mark.parametrize("name", ["return_token_ids", "priority", "seed"])
    def test_a_field_that_breaks_the_server_is_not_sent(self, name: str, status: int) -> None:
        profile, _ = probe(Manners(broken_by={name: status}), "completions", tries=1)
        everything, _ = probe(Manners(), "completions")
        assert profile.fields == everything.fields - {name}
        assert profile.takes_ids

    def test_a_server_that_draws_only(self) -> None:
        manners = Manners(takes_greedy=False)
        with pytest.raises(ServerError, match="HTTP 400: temperature"):
            probe(manners)
        profile, _ = probe(manners, temperature=1.0)
        assert replace(profile, fields=frozenset()) == replace(
            probe(Manners())[0], fields=frozenset(), scores=profile.scores
        )

    def test_a_server_that_dies_while_it_is_asked(self) -> None:
        with setting() as it:
            it.fake.begin({("m", number): Fault("status", status=503) for number in range(1, 99)})
            with pytest.raises(ServerError, match="HTTP 503"):
                it.network.run(asking(it, tries=1).find(["completions"]))
