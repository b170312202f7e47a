"""Inputs of served plans: in full, and said while the answer is written."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from executor.engine import Engine
from executor.gateway import said_inputs
from executor.gateway.api.bodies import LONGEST_INPUT
from executor.gateway.app import Settings
from executor.gateway.figures import OF_INPUTS
from executor.gateway.keys import Key, Keys
from executor.gateway.served_plan import (
    CHOSEN,
    NORMAL,
    SINGLE,
    Point,
    ServedPlan,
    ServingLimits,
    ladder_of,
    single_point,
)
from executor.gateway.spans import trace_request
from executor.input_engine import NO_PROMPT, InputEngine
from executor.runtime import Job, Outcome, Runtime, ServedModel
from planner.api.serving import gateway_of
from planner.results.plans import save_plan
from planner.workspace import Workspace
from staircase import Pipeline, Question, Schedule, Window, constant, normal, uniform
from staircase.pipeline import Agent, Arrival
from tests.support.backends import FORM
from tests.support.command_line import ROOT
from tests.support.gateway_server import Running, listening_to, running
from tests.support.plans import small_plan
from tests.support.scripted_engine import RecallingEngine

PLAN = "voice"
PIPELINE = Pipeline(
    (
        Agent("heard", max_tokens=1000, arrival=Arrival(3.0)),
        Agent("thinker", reads=("heard",)),
        Agent("speaker", reads=("heard", "thinker")),
    ),
    "speaker",
)
# Begins on two words; what is written in a step follows from what it read.
EARLY = uniform(PIPELINE, constant(2, 2, 6))
ASKED: Any = [{"role": "user", "content": "answer"}]
QUERY = "answer"
# As a recogniser says it; the second and the fourth take something back.
SAID = (
    "why does",
    "why thus bread rise",
    "why thus bread rise when it",
    "why does bread rise when it is baked",
)
PAUSE_S = 0.06
SOON_S = 5.0


def engines(thinker: Engine | None = None, speaker: Engine | None = None) -> dict[str, Engine]:
    return {"thinker": thinker or RecallingEngine(12), "speaker": speaker or RecallingEngine(30)}


def served(found: Mapping[str, Engine]) -> dict[str, ServedModel]:
    own = {"temperature": 0.0, "top_p": 1.0, "top_k": 0}
    models = {name: ServedModel(one, FORM, own=own) for name, one in found.items()}
    return models | {"heard": ServedModel(InputEngine(Arrival()), NO_PROMPT)}


def plan_on(
    found: Mapping[str, Engine] | None = None,
    schedule: Schedule = EARLY,
    limits: ServingLimits | None = None,
    name: str = PLAN,
    forecast: Mapping[str, float] | None = None,
) -> ServedPlan:
    points = [
        Point(CHOSEN, PIPELINE, schedule, forecast or {}),
        Point(NORMAL, PIPELINE, uniform(PIPELINE, normal())),
        single_point(PIPELINE),
    ]
    return ServedPlan(
        name,
        Runtime(served(found or engines())),
        {point.name: point for point in points},
        ladder_of(points[:1]),
        limits or ServingLimits(),
    )


def played(updates: Sequence[str], schedule: Schedule = EARLY) -> Outcome:
    """What ``run`` makes of the same updates."""
    coming = tuple((PAUSE_S * number, text) for number, text in enumerate(updates))
    question = Question(QUERY, {"heard": updates[-1]}, updates={"heard": coming})
    models = served(engines()) | {"heard": ServedModel(InputEngine(Arrival(3.0)), NO_PROMPT)}
    return Runtime(models).run([Job(PIPELINE, schedule, question)])[0]


def answer_to(*updates: str) -> str:
    return played(updates).texts["speaker"]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(plan_on()) as found:
        yield found


@dataclass
class Reader:
    """What a client makes of a stream."""

    text: str = ""
    taken_back: int = 0
    content_s: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    is_done: bool = False

    def hear(self, line: str) -> None:
        data = line.removeprefix("data: ")
        if not line.startswith("data: "):
            return
        if data == "[DONE]":
            self.is_done = True
            return
        event = json.loads(data)
        if "error" in event:
            self.error = event["error"]
            return
        keeps = event.get("staircase", {}).get("keeps")
        if keeps is not None:
            assert 0 <= keeps <= len(self.text)
            self.taken_back += len(self.text) - keeps
            self.text = self.text[:keeps]
        for choice in event["choices"]:
            self.text += choice["delta"].get("content", "")
            if choice["delta"].get("content"):
                self.content_s.append(time.monotonic())
            if choice["finish_reason"]:
                self.last = event


def say(server: Running, number: str, key: str = "none", **update: Any) -> httpx.Response:
    head = {"authorization": f"Bearer {key}"}
    body = {"input": "heard"} | update
    return httpx.post(f"{server.url}/inputs/{number}", json=body, headers=head, timeout=20)


class Live:
    """A request that is on its way, read in a thread of its own."""

    def __init__(self, server: Running, key: str = "none", **body: Any) -> None:
        asked = {"model": PLAN, "messages": ASKED, "stream": True, "live_inputs": ["heard"]} | body
        self._server, self._key = server, key
        self._asking = httpx.stream(
            "POST",
            f"{server.url}/chat/completions",
            json=asked,
            headers={"authorization": f"Bearer {key}"},
            timeout=20,
        )
        self._answer = self._asking.__enter__()
        assert self._answer.status_code == 200, self._answer.read()
        self.number = self._answer.headers["staircase-inputs"]
        self.reader = Reader()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._answer.iter_lines():
            self.reader.hear(line)

    def say(self, text: str | None = None, **update: Any) -> httpx.Response:
        return say(self._server, self.number, self._key, text=text, **update)

    def say_all(self, updates: Sequence[str], pause_s: float = PAUSE_S) -> float:
        """Gives when the last was said."""
        for text in updates[:-1]:
            assert self.say(text).status_code == 200
            time.sleep(pause_s)
        last_s = time.monotonic()
        assert self.say(updates[-1], is_last=True).status_code == 200
        return last_s

    def read(self) -> Reader:
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._asking.__exit__(None, None, None)
        return self.reader


def spoken(server: Running, updates: Sequence[str], **body: Any) -> Reader:
    live = Live(server, **body)
    live.say_all(updates)
    return live.read()


def post(server: Running, **body: Any) -> httpx.Response:
    asked = {"model": PLAN, "messages": ASKED} | body
    return httpx.post(f"{server.url}/chat/completions", json=asked, timeout=20)


def content_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


class TestInFull:
    TEXT = "why does bread rise"

    def test_is_what_run_makes_of_it(self, server: Running) -> None:
        assert content_of(post(server, inputs={"heard": self.TEXT})) == answer_to(self.TEXT)

    def test_the_last_message_is_the_only_input(self, server: Running) -> None:
        said: Any = [{"role": "user", "content": self.TEXT}]
        both = post(server, messages=said, inputs={"heard": self.TEXT})
        assert content_of(post(server, messages=said)) == content_of(both)

    @pytest.mark.parametrize("point", ["normal", "single"])
    def test_other_points_read_it_too(self, server: Running, point: str) -> None:
        texts = [
            content_of(post(server, model=f"{PLAN}@{point}", inputs={"heard": text}))
            for text in ("why", "how", "why")
        ]
        assert texts[0] == texts[2] != texts[1]

    def test_the_cheapest_rung_reads_it(self, server: Running) -> None:
        rung = server.gateway.service(PLAN).plan.ladder[-1]
        assert rung.name == SINGLE
        assert rung.pipeline["speaker"].reads == ("heard",)

    @pytest.mark.parametrize(
        ("inputs", "code"),
        [({"heard": " "}, "missing_input"), ({"nobody": "x"}, "invalid_value")],
    )
    def test_what_is_no_input(self, server: Running, inputs: Any, code: str) -> None:
        answer = post(server, inputs=inputs)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == code
        assert answer.json()["error"]["param"] == "inputs"

    def test_openai_client(self, server: Running) -> None:
        said = {"inputs": {"heard": self.TEXT}}
        create = server.client().chat.completions.create
        whole = create(model=PLAN, messages=ASKED, extra_body=said)
        assert whole.choices[0].message.content == answer_to(self.TEXT)
        chunks = create(model=PLAN, messages=ASKED, stream=True, extra_body=said)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == whole.choices[0].message.content


def test_what_a_window_drops() -> None:
    """The answer is what ``run`` writes, and another one than without the window."""
    whole = uniform(PIPELINE, constant(2, 2, 6), "rebuild")
    some = replace(whole, window=Window(3, 2))
    with running(plan_on(schedule=some)) as server:
        answer = content_of(post(server, inputs={"heard": SAID[-1]}))
    texts = [played((SAID[-1],), schedule).texts["speaker"] for schedule in (some, whole)]
    assert answer == texts[0] != texts[1]


CHECKED = replace(uniform(PIPELINE, constant(2, 2, 6), "rebuild"), checked=None)


class TestChecked:
    """Plans whose texts are checked when more is read."""

    @pytest.mark.parametrize("show", ["settled", "at_once"])
    @pytest.mark.parametrize("corrections", [False, True])
    def test_only_who_takes_corrections_is_shown_what_may_fall(
        self, show: Any, corrections: bool
    ) -> None:
        with running(plan_on(schedule=replace(CHECKED, show=show))) as server:
            found = spoken(server, SAID, corrections=corrections)
        assert found.error is None
        assert found.is_done
        assert len(found.text) == 30
        assert (found.taken_back > 0) == (corrections and show == "at_once")
        if not found.taken_back:
            # A chunk a token, though many are settled at once.
            assert len(found.content_s) == 30

    def test_answers_that_are_not_streamed(self) -> None:
        with running(plan_on(schedule=CHECKED)) as server:
            answer = post(server, inputs={"heard": SAID[-1]})
        assert len(content_of(answer)) == 30
        assert answer.json()["usage"]["completion_tokens"] == 30


class TestLive:
    def test_nothing_is_shown_before_it_stands(self, server: Running) -> None:
        live = Live(server)
        last_s = live.say_all(SAID)
        found = live.read()
        assert found.text == answer_to(*SAID)
        assert found.taken_back == 0
        assert min(found.content_s) >= last_s
        assert found.is_done
        assert len(found.content_s) == len(found.text)

    def test_with_corrections_it_is_shown_as_it_stands(self, server: Running) -> None:
        live = Live(server, corrections=True)
        last_s = live.say_all(SAID)
        found = live.read()
        assert found.text == answer_to(*SAID)
        assert found.taken_back > 0
        assert min(found.content_s) < last_s

    def test_is_the_answer_to_the_text_in_full(self, server: Running) -> None:
        """Read exactly, steps show the same words however they come."""
        whole = content_of(post(server, inputs={"heard": SAID[-1]}))
        assert spoken(server, SAID).text == spoken(server, SAID, corrections=True).text == whole

    @pytest.mark.parametrize("seed", range(6))
    def test_whatever_was_said_before(self, server: Running, seed: int) -> None:
        """Any updates, at any moments; no text is so long that the answer ends before it."""
        rng = random.Random(seed)
        updates = [" ".join(rng.choices("abc", k=rng.randint(0, 8))) for _ in range(12)]
        live = Live(server, corrections=seed % 3 > 0)
        for text in updates:
            assert live.say(text).status_code == 200
            time.sleep(rng.choice([0.0, 0.01, 0.05]))
        live.say(f"a {updates[-1]}", is_last=True)
        whole = content_of(post(server, inputs={"heard": f"a {updates[-1]}"}))
        found = live.read()
        assert found.text == whole
        assert found.taken_back == 0 or seed % 3 > 0

    def test_prompts_are_those_of_run(self) -> None:
        """Under a schedule that reads all first, so that each agent has one call that stands."""
        asked: list[Sequence[int]] = []

        class Noting(RecallingEngine):
            def submit(self, call: Any, listener: Any) -> None:
                asked.append(call.prompt_ids)
                super().submit(call, listener)

        schedule = uniform(PIPELINE, normal())
        with running(plan_on(engines(Noting(12), Noting(30)), schedule)) as server:
            assert spoken(server, SAID).text == played(SAID, schedule).texts["speaker"]
        by_gateway, asked[:] = list(asked), []
        models = served(engines(Noting(12), Noting(30)))
        Runtime(models).run([Job(PIPELINE, schedule, Question(QUERY, {"heard": SAID[-1]}))])
        assert by_gateway == asked

    def test_the_end_may_come_without_words(self, server: Running) -> None:
        live = Live(server)
        assert live.say("why does").status_code == 200
        done = live.say(is_last=True)
        assert done.json() == {
            "id": live.number,
            "object": "input",
            "input": "heard",
            "over": True,
        }
        assert live.read().text == answer_to("why does")

    def test_nothing_at_all_is_said(self, server: Running) -> None:
        live = Live(server)
        live.say(is_last=True)
        found = live.read()
        assert found.text
        assert found.last["staircase"]["missing"] == {"heard": "wrote nothing"}

    def test_openai_client(self, server: Running) -> None:
        """The id of its chunks is where inputs are said."""
        client = server.client()
        wanted = {"live_inputs": ["heard"], "corrections": True}
        create = client.chat.completions.create
        stream = create(model=PLAN, messages=ASKED, stream=True, extra_body=wanted)
        chunks = iter(stream)
        text, number = "", next(chunks).id

        def speak() -> None:
            for place, said in enumerate(SAID):
                update = {"input": "heard", "text": said, "is_last": place == len(SAID) - 1}
                client.post(f"/inputs/{number}", body=update, cast_to=object)
                time.sleep(PAUSE_S)

        speaking = threading.Thread(target=speak)
        speaking.start()
        for chunk in chunks:
            told: Any = (chunk.model_extra or {}).get("staircase") or {}
            text = text[: told.get("keeps", len(text))] + (chunk.choices[0].delta.content or "")
        speaking.join()
        assert text == answer_to(*SAID)

    def test_completions_have_them_too(self, server: Running) -> None:
        asked = {"model": PLAN, "prompt": QUERY, "stream": True, "live_inputs": ["heard"]}
        with httpx.stream("POST", f"{server.url}/completions", json=asked) as answer:
            number = answer.headers["staircase-inputs"]
            assert number.startswith("cmpl-")
            say(server, number, text=SAID[-1], is_last=True)
            data = [line[6:] for line in answer.iter_lines() if line.startswith("data: {")]
        texts = [choice["text"] for one in data for choice in json.loads(one)["choices"]]
        assert "".join(texts) == answer_to(SAID[-1])

    def test_several_at_once(self, server: Running) -> None:
        texts = [[*SAID[:3], f"{SAID[3]} number {number}"] for number in range(6)]
        with ThreadPoolExecutor(6) as pool:
            found = list(
                pool.map(
                    lambda pair: spoken(server, pair[1], corrections=pair[0] % 2 == 0),
                    enumerate(texts),
                )
            )
        assert [one.text for one in found] == [answer_to(*text) for text in texts]

    def test_what_is_said_while_it_waits_is_heard(self) -> None:
        slow = engines(speaker=RecallingEngine(30, token_s=0.02))
        limits = ServingLimits(concurrency=1)
        with running(plan_on(slow, limits=limits), settings=Settings(keep_alive_s=0.05)) as server:
            first = Live(server)
            second = Live(server)
            second.say_all(SAID)
            first.say_all(["how so"])
            assert first.read().text == answer_to("how so")
            assert second.read().text == answer_to(SAID[-1])

    def test_an_answer_that_ends_before_its_input_is_whole(self) -> None:
        """The model says that it is done, and the schedule lets it be."""
        schedule = uniform(PIPELINE, constant(1, 1, 50))
        found = engines(RecallingEngine(1), RecallingEngine(5))
        with running(plan_on(found, schedule)) as server:
            live = Live(server)
            live.say("why does bread rise when")
            answer = live.read()
            assert len(answer.text) == 5
            assert answer.is_done
            assert live.say("late").status_code == 404


class TestStopTexts:
    @pytest.mark.parametrize("corrections", [False, True])
    def test_end_what_stands(self, server: Running, corrections: bool) -> None:
        """A stop text in what falls ends nothing."""
        fallen = answer_to(*SAID[:3], SAID[2])
        whole = answer_to(*SAID)
        early = next(fallen[n : n + 2] for n in range(30) if fallen[n : n + 2] not in whole)
        late = whole[20:22]
        found = spoken(server, SAID, corrections=corrections, stop=[early, late])
        assert found.text == whole[: whole.index(late)]
        assert found.last["choices"][0]["finish_reason"] == "stop"

    def test_the_limit_is_reached(self, server: Running) -> None:
        found = spoken(server, SAID, corrections=True, max_tokens=25)
        assert found.text == answer_to(*SAID)[:25]
        assert found.last["choices"][0]["finish_reason"] == "length"


class TestRefused:
    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"live_inputs": ["heard"]}, "stream: true"),
            ({"live_inputs": ["thinker"], "stream": True}, "it has heard"),
            ({"live_inputs": ["heard"], "stream": True, "inputs": {"heard": "x"}}, "one of them"),
            ({"live_inputs": ["heard"] * 17, "stream": True}, "16"),
        ],
    )
    def test_requests(self, server: Running, fields: Any, words: str) -> None:
        error = post(server, **fields).json()["error"]
        assert error["param"] == "live_inputs"
        assert words in error["message"]

    def test_updates(self, server: Running) -> None:
        live = Live(server)
        bad = [
            ({"input": "thinker", "text": "x"}, "input"),
            ({}, "text"),
            ({"text": "x" * (LONGEST_INPUT + 1)}, "text"),
            ({"text": "\ud800"}, "text"),
        ]
        for update, param in bad:
            body = json.dumps({"input": "heard"} | update)
            answer = httpx.post(
                f"{server.url}/inputs/{live.number}",
                content=body,
                headers={"content-type": "application/json"},
            )
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert say(server, "chatcmpl-nobody", text="x").status_code == 404
        assert live.say(SAID[-1], is_last=True).status_code == 200
        again = live.say("more")
        if again.status_code != 404:  # the answer was not there yet
            assert (again.status_code, again.json()["error"]["code"]) == (409, "input_over")
        assert live.read().text == answer_to(SAID[-1])
        assert live.say("more").status_code == 404

    def test_after_the_last(self) -> None:
        slow = engines(speaker=RecallingEngine(30, token_s=0.05))
        with running(plan_on(slow)) as server:
            live = Live(server)
            live.say_all(["why"])
            again = live.say("why not")
            assert (again.status_code, again.json()["error"]["code"]) == (409, "input_over")
            assert live.read().text == answer_to("why")

    def test_only_the_key_that_asked_says_more(self) -> None:
        keys = Keys({"anna": Key("sesame"), "bert": Key("open")})
        with running(plan_on(), keys=keys) as server:
            live = Live(server, key="sesame")
            for key in ("open", "wrong"):
                assert say(server, live.number, key, text="x", is_last=True).status_code == 401
            live.say_all(SAID)
            assert live.read().text == answer_to(*SAID)

    @pytest.mark.parametrize("bound", ["MOST_UPDATES", "MOST_WORDS"])
    def test_too_much(self, server: Running, bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(said_inputs, bound, 2)
        live = Live(server)
        answers = [live.say(f"{text} a b") for text in ("one", "two", "three")]
        assert answers[-1].json()["error"]["code"] == "too_much_said"
        monkeypatch.undo()
        live.say(is_last=True)
        assert live.read().is_done


class Counting(RecallingEngine):
    """Knows how many of its calls have not ended."""

    def __init__(self, length: int, token_s: float) -> None:
        super().__init__(length, token_s=token_s)
        self.open = 0
        self.begun = 0

    def _serve(self, call: Any, listener: Any) -> None:
        self.open += 1
        self.begun += 1
        try:
            super()._serve(call, listener)
        finally:
            self.open -= 1


class TestEnds:
    def test_a_client_that_leaves_ends_all(self) -> None:
        thinker = Counting(1000, 0.01)
        found = engines(thinker, Counting(1000, 0.01))
        settings = Settings(keep_alive_s=0.1)
        with running(plan_on(found), settings=settings) as server:
            asked = {"model": PLAN, "messages": ASKED, "stream": True, "live_inputs": ["heard"]}
            with httpx.stream("POST", f"{server.url}/chat/completions", json=asked) as answer:
                number = answer.headers["staircase-inputs"]
                say(server, number, text="why does bread rise")
                until(lambda: thinker.begun > 0)
            until(lambda: not server.gateway.running)
            assert thinker.open == 0
            assert say(server, number, text="more").status_code == 404

    def test_an_input_that_never_ends_is_over_after_a_while(self) -> None:
        limits = ServingLimits(inputs_s=0.3)
        with running(plan_on(limits=limits)) as server:
            live = Live(server)
            live.say("why does")
            found = live.read()
        assert found.text == answer_to("why does")
        assert found.last["staircase"]["late"] == ["heard"]

    def test_a_deadline_ends_the_answer(self) -> None:
        with running(plan_on(engines(speaker=RecallingEngine(400, token_s=0.01)))) as server:
            live = Live(server, deadline_s=0.6)
            live.say("why does bread rise when it")
            found = live.read()
        assert 0 < len(found.text) < 400
        assert found.last["staircase"]["ended_by"] == "deadline"

    def test_a_shutdown_ends_it(self) -> None:
        with running(plan_on(), grace_s=0.2) as server:
            live = Live(server)
            live.say("why does bread rise when it")
            time.sleep(0.2)
            server.server.handle_exit(15, None)
            found = live.read()
        assert found.is_done
        assert found.last["staircase"]["ended_by"] == "shutdown"


def until(holds: Any) -> None:
    end = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_no_plan_without_inputs_has_live_ones() -> None:
    from tests.support.gateway_server import PLAN as PANEL
    from tests.support.gateway_server import plan_on as panel_on
    from tests.support.gateway_server import scripted

    with running(panel_on(scripted())) as server, pytest.raises(openai.BadRequestError) as caught:
        server.client().chat.completions.create(
            model=PANEL, messages=ASKED, stream=True, extra_body={"live_inputs": ["heard"]}
        )
    assert "it has none" in str(caught.value)


FORECAST = {"start_after_input_s": 0.5, "last_after_input_s": 0.5, "ttft_s": 1.0}


class TestFigures:
    @staticmethod
    def lines(server: Running) -> dict[str, float]:
        text = httpx.get(f"{server.base}/metrics").text
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def test_count_from_the_last_words(self) -> None:
        """Silence before the end is told does not count, and what fell does not either."""
        of = f'plan="{PLAN}",schedule="chosen"'
        with running(plan_on(forecast=FORECAST)) as server:
            live = Live(server, corrections=True)
            for said in ("why does", "why does bread rice", "why does bread rise when it"):
                live.say(said)
                time.sleep(PAUSE_S)
            time.sleep(0.5)
            live.say(is_last=True)
            found = live.read()
            lines = self.lines(server)
        assert found.taken_back > 0
        for figure in ("ttft_after_input", "start_after_input", "last_after_input"):
            assert lines[f"staircase_{figure}_seconds_count{{{of}}}"] == 1
        # The first token that stands came with the first words, the last with the end.
        first = f'staircase_ttft_after_input_seconds_bucket{{le="0.0",{of}}}'
        assert lines[first] == 1
        assert lines[f'staircase_last_after_input_seconds_bucket{{le="0.35",{of}}}'] == 0
        assert lines[f"staircase_inter_token_latency_seconds_count{{{of}}}"] == len(found.text) - 1
        for figure, count in (("start_after_input", 1), ("last_after_input", 1), ("ttft", None)):
            name = f'staircase_measured_over_forecast_ratio_count{{figure="{figure}",{of}}}'
            assert lines.get(name) == count

    def test_inputs_in_full_have_none(self) -> None:
        with running(plan_on(forecast=FORECAST)) as server:
            post(server, inputs={"heard": SAID[-1]})
            lines = self.lines(server)
        of = f'plan="{PLAN}",schedule="chosen"'
        assert lines[f"staircase_ttft_seconds_count{{{of}}}"] == 1
        assert f"staircase_ttft_after_input_seconds_count{{{of}}}" not in lines
        assert not any("measured_over_forecast_ratio_count" in name for name in lines)


def test_an_input_has_a_span_without_calls() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    point = plan_on().points[CHOSEN]
    outcome = played(SAID)
    trace_request(provider.get_tracer("test"), PLAN, point, outcome, 10**18, Context())
    spans = {one.name: one for one in kept.get_finished_spans()}
    request, heard = spans[f"chat {PLAN}"], spans["input heard"]
    assert heard.parent
    assert request.context
    assert heard.parent.span_id == request.context.span_id
    assert "chat heard" not in spans


@pytest.mark.parametrize("options", [[], ["--hold"]])
def test_the_example_speaks(server: Running, tmp_path: Path, options: list[str]) -> None:
    heard = [{"at": PAUSE_S * number, "text": text} for number, text in enumerate(SAID)]
    path = tmp_path / "heard.jsonl"
    path.write_text(json.dumps({"query": QUERY, "inputs": {"heard": heard}}) + "\n")
    script = str(ROOT / "examples" / "voice" / "speak.py")
    words = [sys.executable, script, str(path), "--url", f"{server.url}/", *options]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"  {answer_to(*SAID)}\n" in done.stdout
    taken_back = float(done.stdout.rsplit(" ", 1)[1])
    assert (taken_back > 0) == (not options)


def test_a_planned_scenario_is_served(tmp_path: Path) -> None:
    """On embedded models, under the plan of an example; its clock keeps nobody waiting."""
    content = yaml.safe_load((ROOT / "examples" / "heard.yaml").read_text())
    content["pipeline"]["inputs"] = {"heard": {"tokens_per_s": 0.01}}
    for agent in content["pipeline"]["agents"].values():
        agent["reads"] = [{"question": "heard"}.get(name, name) for name in agent["reads"]]
    content["engines"] = {name: {"model": "embedded"} for name in ("large", "small")}
    content = {key: content[key] for key in ("name", "pipeline", "engines")}
    path = tmp_path / "heard.yaml"
    path.write_text(yaml.safe_dump(content))
    plan = replace(small_plan("heard", 5), profile_hashes={})
    (tmp_path / "runs").mkdir()
    save_plan(tmp_path / "runs" / "plan.json", plan)
    work = Workspace.open(path, tmp_path / "runs")
    with gateway_of([work]) as gateway, listening_to(gateway) as server:
        assert set(OF_INPUTS) <= {
            name.removesuffix("_s")
            for name in gateway.service("heard").plan.points[CHOSEN].forecast
        }
        whole = post(server, model="heard", inputs={"heard": SAID[-1]})
        assert content_of(whole)
        assert spoken(server, SAID, model="heard").text == content_of(whole)
