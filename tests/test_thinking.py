"""Models that think: thoughts are told apart from answers however text comes, counted, not read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from executor.engine import CallReport, Engine, EngineCall, Key, Listener, Thought, Tokened
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel, load_model
from executor.inprocess.transformers_engine import TransformersEngine
from executor.openai.stream_chunks import Chunk
from executor.openai.vocabularies import TextPieces
from executor.opened_engines import open_engines
from executor.prompts.thoughts import tags_of, thought_of
from executor.runtime import Job, Outcome
from executor.thinking_engine import ThinkingEngine
from executor.tokens.chat_template import chat_format
from executor.tokens.rendering import fixed_texts
from executor.tokens.thought_text import ThoughtText
from staircase import Agent, Schedule
from staircase.errors import EngineError, ScenarioError
from staircase.messages import EndReason
from staircase.metrics.request_metrics import measure
from staircase.metrics.shortfalls import missing_of
from staircase.pipeline import Thinking
from staircase.prompt import own
from staircase.spec.scenario import Scenario, load_scenario
from staircase.timeline import to_s
from staircase.workload import Question
from tests.support.chat_tokenizers import SHAPES, Shape, trained
from tests.support.fake_server import FakeServer, Manners, Reply
from tests.support.letter_model import save_letter_model
from tests.test_odd_servers import delta, usage
from tests.test_openai_engine import CHAT, Recorder, setting

TAGS = Thinking.tags
PIECES = ["<think>", "</think>", "<", "/", "think", ">", "</", " ", "\n\n", "so", "Yes.", "é"]
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@st.composite
def cuts(draw: Any) -> tuple[str, list[str]]:
    """A text, and the same in pieces."""
    text = draw(texts)
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    borders = zip([0, *places], [*places, len(text)], strict=True)
    return text, [text[start:stop] for start, stop in borders]


def split(pieces: Sequence[str], is_open: bool = False) -> tuple[str, str]:
    text = ThoughtText(TAGS)
    if is_open:
        text.open()
    answer = "".join(map(text.add, pieces)) + text.end()
    return text.thought, answer


class TestText:
    @given(cuts(), st.booleans())
    def test_is_told_apart_the_same_however_it_is_cut(
        self, cut: tuple[str, list[str]], is_open: bool
    ) -> None:
        text, pieces = cut
        assert split(pieces, is_open) == split([text], is_open)

    @given(cuts())
    def test_is_a_thought_only_at_the_beginning(self, cut: tuple[str, list[str]]) -> None:
        thought, answer = split(cut[1])
        begins = cut[0].lstrip()
        if not begins.startswith(TAGS[0]):
            assert (thought, answer) == ("", cut[0])
            return
        assert cut[0].endswith(answer)
        assert not answer[:1].isspace()
        assert thought == begins.removeprefix(TAGS[0]).partition(TAGS[1])[0]

    @pytest.mark.parametrize(
        ("text", "thought", "answer"),
        [
            ("<think>\nhm\n</think>\n\nYes.", "\nhm\n", "Yes."),
            (" \n<think>hm</think> </think>\nYes.", "hm", "Yes."),
            ("<think>hm", "hm", ""),
            ("Yes. <think>hm</think>", "", "Yes. <think>hm</think>"),
            ("<thin", "", "<thin"),
            ("<think>a</think></thi", "a", "</thi"),
        ],
    )
    def test_examples(self, text: str, thought: str, answer: str) -> None:
        assert split([text]) == (thought, answer)
        assert split(list(text)) == (thought, answer)


class Reciter(Tokened):
    """Writes the pieces that ``script`` makes of a prompt, in a thread of a device.

    Attributes:
        calls: as they came.
    """

    def __init__(self, device: Device, script: Callable[[str], list[str]]) -> None:
        self.pieces = TextPieces("pieces", list)
        super().__init__(self.pieces)
        self._device = device
        self._script = script
        self._open: dict[Key, tuple[EngineCall, Listener, list[int], list[int]]] = {}
        self.calls: list[EngineCall] = []
        device.attach(self)

    def submit(self, call: EngineCall, listener: Listener) -> None:
        self.calls.append(call)
        script = (Chunk(piece, (0,)) for piece in self._script(self.prompt(call)))
        left = [token for chunk in script for token in self.pieces.read(chunk)]
        self._device.post(lambda: self._open.update({call.key: (call, listener, left, [])}))

    def prompt(self, call: EngineCall) -> str:
        return self.decode(call.prompt_ids)

    def cancel(self, key: Key) -> None:
        self._device.post(lambda: self._cancel(key))

    def _cancel(self, key: Key) -> None:
        if key in self._open:
            self._end(key, "cancelled")

    @property
    def has_work(self) -> bool:
        return bool(self._open)

    def turn(self) -> None:
        for key, (call, listener, left, done) in list(self._open.items()):
            if not left:
                self._end(key, "stop")
                continue
            done.append(left.pop(0))
            listener.on_token(key, done[-1], time.perf_counter_ns())
            if len(done) == call.max_tokens:
                self._end(key, "length")

    def _end(self, key: Key, reason: EndReason) -> None:
        _, listener, _, _ = self._open.pop(key)
        listener.on_end(key, CallReport(reason, 1, time.perf_counter_ns(), 1, 0))


def asked(
    script: Callable[[str], list[str]], thought: Thought, max_tokens: int = 50, **options: Any
) -> tuple[str, CallReport, Reciter]:
    """The answer, its report, and who wrote it."""
    with Device() as device:
        reciter = Reciter(device, script)
        engine, recorder = ThinkingEngine(reciter), Recorder()
        prompt = engine.encode("q:")
        engine.submit(EngineCall((0, 0), prompt, max_tokens, thought=thought, **options), recorder)
        report = recorder.report()
        return engine.decode(recorder.ids), report, reciter


FORCED = Thought(TAGS, 40, is_forced=True, empty="<think>\n\n</think>\n\n")


class TestEngine:
    @given(cuts())
    def test_shows_the_answer_however_tokens_are_cut(self, cut: tuple[str, list[str]]) -> None:
        text, pieces = cut[0], [piece for piece in cut[1] if piece]
        free = Thought(TAGS, 100)
        answer, report, _ = asked(lambda prompt: pieces, free, max_tokens=100)
        assert answer == split([text])[1]
        assert report.reason == "stop"
        assert (report.thought_ns is None) == (not text.lstrip().startswith(TAGS[0]))

    def test_counts_both(self) -> None:
        script = ["<think>", "a", "b", "</think>", "\n", "Y", "es", "."]
        answer, report, _ = asked(lambda prompt: script, FORCED)
        assert (answer, report.thinking_tokens, report.remark) == ("Yes.", 5, None)

    def test_an_answer_has_its_own_room(self) -> None:
        script = ["<think>", "a", "</think>", *"Yes, they are."]
        answer, report, reciter = asked(lambda prompt: script, FORCED, max_tokens=4)
        assert (answer, report.reason) == ("Yes,", "length")
        assert len(reciter.calls) == 1

    def test_a_budget_closes_the_thought(self) -> None:
        def think(prompt: str) -> list[str]:
            return list("Yes.") if "</think>" in prompt else ["<think>", *"abcdefgh" * 9]

        thought = replace(FORCED, budget=6)
        answer, report, reciter = asked(think, thought)
        assert (answer, report.reason, report.thinking_tokens) == ("Yes.", "stop", 6)
        assert reciter.prompt(reciter.calls[1]) == "q:<think>abcde\n</think>\n\n"
        # All of the second prompt, as nothing was cached: the thought's opening is one token.
        assert report.added_tokens == len("q:") + 6 + len("\n</think>\n\n")

    def test_without_a_budget_there_is_no_thought(self) -> None:
        answer, report, reciter = asked(lambda prompt: list("Yes."), replace(FORCED, budget=0))
        assert (answer, report.thinking_tokens) == ("Yes.", 0)
        assert reciter.prompt(reciter.calls[0]) == "q:<think>\n\n</think>\n\n"

    def test_a_thought_that_takes_of_the_answers_room_gives_it_back(self) -> None:
        """The tag and what follows it are no part of the budget, so the call was too short."""

        def write(prompt: str) -> list[str]:
            script = ["<think>", "a", "b", "</think>", "\n", *"Yes, they are."]
            return script[5 + len(prompt.partition("\n")[2]) :] if "\n" in prompt else script

        thought = replace(FORCED, budget=4)
        answer, report, reciter = asked(write, thought, max_tokens=6)
        assert (answer, report.reason) == ("Yes, t", "length")
        assert [call.max_tokens for call in reciter.calls] == [10, 1]

    @pytest.mark.parametrize("own_text", ["", "Yes"])
    def test_who_goes_on_does_not_think_again(self, own_text: str) -> None:
        def write(prompt: str) -> list[str]:
            return [" so", "."]

        with Device() as device:
            reciter = Reciter(device, write)
            engine, recorder = ThinkingEngine(reciter), Recorder()
            ids = [engine.encode("q:"), engine.encode(own_text)]
            call = EngineCall(
                (0, 0), ids[0] + ids[1], 5, own_tokens=len(ids[1]), written=3, thought=FORCED
            )
            engine.submit(call, recorder)
            assert recorder.report().reason == "stop"
            assert engine.decode(recorder.ids) == " so."
            (sent,) = reciter.calls
            assert reciter.prompt(sent) == f"q:<think>\n\n</think>\n\n{own_text}"
            assert (sent.max_tokens, sent.own_tokens) == (5, len(ids[1]))

    def test_one_that_thinks_again_all_the_same_is_closed_at_once(self) -> None:
        def write(prompt: str) -> list[str]:
            return [".", "</think>"] if "hm" in prompt else ["<think>hm", "mm"] * 5

        answer, report, _ = asked(write, FORCED, written=3)
        assert (answer, report.thinking_tokens) == (".</think>", 1)

    def test_an_unfinished_thought_is_told(self) -> None:
        answer, report, _ = asked(lambda prompt: ["<think>", "a"], Thought(TAGS))
        assert (answer, report.reason, report.remark) == ("", "stop", "only reasoned")

    def test_a_template_may_have_opened_it(self) -> None:
        thought = replace(FORCED, lead="<think>\n")
        answer, report, reciter = asked(lambda prompt: ["a", "</think>", "Yes"], thought)
        assert (answer, report.thinking_tokens) == ("Yes", 2)
        assert report.added_tokens == len("<think>\n")
        assert reciter.prompt(reciter.calls[0]) == "q:<think>\n"

    @pytest.mark.parametrize("after", [0, 3, 9])
    def test_may_be_cancelled_anywhere(self, after: int) -> None:
        """Also where one call has just been ended to be followed by another."""

        def think(prompt: str) -> list[str]:
            return ["x"] * 10**4 if "</think>" in prompt else ["<think>", *"abcdefgh" * 9]

        with Device() as device:
            reciter = Reciter(device, think)
            engine, recorder = ThinkingEngine(reciter), Recorder()
            thought = replace(FORCED, budget=after)
            engine.submit(EngineCall((0, 0), [], 10**5, thought=thought), recorder)
            engine.cancel((0, 0))
            assert recorder.report().reason == "cancelled"


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder)
    return load_model(str(folder), "cpu", "float32")


class TestInProcess:
    """Of a model whose tokens are letters: what it writes by itself is taken for thoughts."""

    def written(self, model: LoadedModel, prompt: str, count: int) -> str:
        return self.served(model, EngineCall((0, 0), model.encode(prompt), count))[0]

    def served(self, model: LoadedModel, call: EngineCall) -> tuple[str, CallReport]:
        recorder = Recorder()
        with Device() as device:
            engine: Engine = TransformersEngine(model, device)
            if call.thought:
                engine = ThinkingEngine(engine)
            engine.submit(call, recorder)
            report = recorder.report()
            return model.decode(recorder.ids), report

    def test_a_thought_that_ends(self, letters: LoadedModel) -> None:
        text = self.written(letters, "Why?", 60)
        end = next(n for n in range(10, 40) if text.index(text[n : n + 3], 2) == n)
        thought = Thought((text[:2], text[end : end + 3]), 40, is_forced=True)
        call = EngineCall((0, 0), letters.encode("Why?"), 12, thought=thought)
        answer, report = self.served(letters, call)
        assert answer == text[end + 3 :].lstrip()[:12]
        assert report.reason == "length"
        assert report.thinking_tokens == text.index(answer, end + 3)

    def test_a_budget(self, letters: LoadedModel) -> None:
        text = self.written(letters, "Why?", 30)
        thought = Thought((text[:2], "</t>"), 20, is_forced=True)
        call = EngineCall((0, 0), letters.encode("Why?"), 12, owner="a", thought=thought)
        answer, report = self.served(letters, call)
        prompt = f"Why?{text[:20]}\n</t>"
        assert answer == self.written(letters, prompt, 60).lstrip()[:12]
        # The last token of the thought has no keys and values yet.
        assert report.added_tokens == len("\n</t>") + 1
        assert report.cached_tokens == 0


class TestReasoningOfServers:
    SCRIPT = (
        delta(reasoning_content="well"),
        delta(reasoning="now"),
        delta(content="Yes"),
        delta(content="."),
        delta("stop"),
    )

    @staticmethod
    def asked(script: Sequence[str], thought: Thought | None) -> tuple[str, CallReport, Any]:
        with setting(Manners(script=script), CHAT) as it:
            engine, recorder = ThinkingEngine(it.engine), Recorder()
            call = EngineCall((0, 0), it.engine.encode("q:"), 9, thought=thought)
            engine.submit(call, recorder)
            report = recorder.report()
            return engine.decode(recorder.ids), report, it.fake.bodies[-1]

    def test_is_counted(self) -> None:
        text, report, _ = self.asked(self.SCRIPT, Thought(TAGS))
        assert (text, report.thinking_tokens, report.reason) == ("Yes.", 2, "stop")
        assert report.thought_ns is not None
        assert report.started_ns < report.thought_ns < report.ended_ns

    def test_is_counted_as_the_server_counts(self) -> None:
        _, report, _ = self.asked([*self.SCRIPT, usage(9, 7)], Thought(TAGS))
        assert report.thinking_tokens == 7

    def test_tags_in_the_content(self) -> None:
        script = [delta(content=piece) for piece in ("<thi", "nk>so", "</think", ">\n\nY", "es")]
        text, report, _ = self.asked([*script, delta("stop")], Thought(TAGS))
        assert (text, report.thinking_tokens) == ("Yes", 4)

    def test_a_call_that_does_not_think_reports_what_it_reported(self) -> None:
        with setting(profile=CHAT) as it:
            engine, recorder = ThinkingEngine(it.engine), Recorder()
            prompt, tail = engine.encode("q:"), engine.encode(" 1 2")
            call = EngineCall((0, 0), prompt + tail, 3, own_tokens=len(tail), written=len(tail))
            engine.submit(replace(call, thought=Thought(TAGS)), recorder)
            report = recorder.report()
            assert engine.decode(recorder.ids) == " 3 4 5"
            assert (report.reason, report.cached_tokens, report.thinking_tokens) == ("length", 2, 0)

    def test_fields_are_sent(self) -> None:
        fields = {"chat_template_kwargs": {"enable_thinking": True}}
        _, _, body = self.asked(self.SCRIPT, Thought(TAGS, 30, fields=fields))
        assert body["chat_template_kwargs"] == {"enable_thinking": True}
        assert body["max_tokens"] == 39


QWEN = Shape(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}",
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *TAGS),
)
R1 = Shape(
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}",
    ("<|begin|>", "<|system|>", "<|user|>", "<|assistant|>", *TAGS),
)
ALONE = Agent("a")


def thinking(**keys: Any) -> Agent:
    return replace(ALONE, thinking=Thinking(**keys))


class TestTemplates:
    """``thought_of``, by the templates of Qwen3's and of DeepSeek-R1's kind."""

    @staticmethod
    def prompt(shape: Shape, agent: Agent, thought: str) -> list[int]:
        tokenizer = trained(shape)
        texts = fixed_texts(agent, "Why?", chat_format(tokenizer))
        whole = "".join(texts.values()) + thought
        return list(tokenizer.encode(whole, add_special_tokens=False))

    @pytest.mark.parametrize("shape", [QWEN, R1])
    @pytest.mark.parametrize("agent", [ALONE, thinking(), thinking(enabled=True)])
    def test_a_first_prompt_is_the_templates(self, shape: Shape, agent: Agent) -> None:
        tokenizer = trained(shape)
        thought = thought_of(agent, chat_format(tokenizer), tokenizer)
        assert thought
        assert (thought.budget, thought.is_forced) == (1024, True)
        said = [{"role": "user", "content": "Why?"}]
        made = tokenizer.apply_chat_template(said, add_generation_prompt=True)
        assert self.prompt(shape, agent, thought.lead) == made["input_ids"]

    @pytest.mark.parametrize("shape", [QWEN, R1])
    def test_who_goes_on_has_an_empty_thought(self, shape: Shape) -> None:
        tokenizer = trained(shape)
        thought = thought_of(ALONE, chat_format(tokenizer), tokenizer)
        assert thought
        assert thought.empty == "<think>\n\n</think>\n\n"
        assert thought.closing == "\n</think>\n\n"
        assert TAGS[0] not in fixed_texts(ALONE, "Why?", chat_format(tokenizer))[own("a")]

    def test_one_that_shall_not_think(self) -> None:
        tokenizer, agent = trained(QWEN), thinking(enabled=False)
        thought = thought_of(agent, chat_format(tokenizer), tokenizer)
        assert thought == Thought(TAGS, is_forced=True)
        said = [{"role": "user", "content": "Why?"}]
        made = tokenizer.apply_chat_template(
            said, add_generation_prompt=True, enable_thinking=False
        )
        assert self.prompt(QWEN, agent, "") == made["input_ids"]

    @pytest.mark.parametrize("shape", [R1, SHAPES["ChatML"]])
    def test_a_template_that_does_not_know_of_it(self, shape: Shape) -> None:
        tokenizer = trained(shape)
        with pytest.raises(EngineError, match=r"agent 'a': thinking\.enabled: false needs"):
            thought_of(thinking(enabled=False), chat_format(tokenizer), tokenizer)

    def test_nothing_says_that_it_thinks(self) -> None:
        tokenizer = trained(SHAPES["ChatML"])
        assert thought_of(ALONE, chat_format(tokenizer), tokenizer) is None
        asked_for = thought_of(thinking(budget=9), chat_format(tokenizer), tokenizer)
        assert asked_for
        assert (asked_for.budget, asked_for.lead) == (9, "")

    def test_agents_of_one_engine_have_the_same_tags(self) -> None:
        agents = [thinking(), replace(thinking(tags=("[", "]")), name="b")]
        assert tags_of([ALONE]) == TAGS
        with pytest.raises(EngineError, match="agents 'a' and 'b' have one engine"):
            tags_of(agents)


def scenario(folder: Path, url: str, api: str = "chat", **agents: dict[str, Any]) -> Scenario:
    """Of two who write and one who reads them, with what is said of each."""
    path = folder / "scenario.yaml"
    content = {
        "name": "thinking",
        "pipeline": {
            "moa": {"layers": [["p", "q"]], "answer": "z"},
            "agents": {name: {"engine": "e", **agents.get(name, {})} for name in "pqz"},
        },
        "engines": {"e": {"kind": "openai", "base_url": url, "model": "m", "api": api}},
    }
    path.write_text(yaml.safe_dump(content))
    return load_scenario(path)


@contextmanager
def served(manners: Manners) -> Iterator[FakeServer]:
    with FakeServer(manners) as fake:
        yield fake


def play(one: Scenario, schedule: Schedule | None = None) -> Outcome:
    with open_engines(one) as opened:
        job = Job(one.pipeline.build(), schedule or Schedule(), Question("Why?"))
        return opened.runtime.run([job])[0]


class TestScenarios:
    CHAT = Manners(script=TestReasoningOfServers.SCRIPT)
    FIELDS = frozenset({"chat_template_kwargs", "thinking_token_budget"})

    def test_readers_read_answers_only(self, tmp_path: Path) -> None:
        with served(self.CHAT) as fake:
            outcome = play(scenario(tmp_path, fake.url))
            read = fake.bodies[-1]["messages"][0]["content"]
        assert read.count("Yes.") == 2
        assert "well" not in read
        assert outcome.texts == {"p": "Yes.", "q": "Yes.", "z": "Yes."}

    def test_its_time_and_tokens_are_told(self, tmp_path: Path) -> None:
        with served(self.CHAT) as fake:
            line = play(scenario(tmp_path, fake.url)).timeline
        assert [span.thinking_tokens for span in line.spans] == [2, 2, 2]
        found, answer = measure(line), line.spans[-1]
        assert (found.answer_tokens, found.thinking_tokens) == (2, 6)
        assert line.thought_ps == answer.thought_ps == answer.first_output_ps
        assert line.thought_ps is not None
        assert found.first_output_s == to_s(line.thought_ps - line.arrival_ps)
        assert found.first_output_s < found.ttft_s == to_s(line.answer_ps[0] - line.arrival_ps)

    def test_a_thought_without_an_answer_is_missing(self, tmp_path: Path) -> None:
        script = [delta(reasoning="well"), delta("length")]
        with served(Manners(script=script)) as fake:
            line = play(scenario(tmp_path, fake.url)).timeline
        assert missing_of(line) == dict.fromkeys(("p", "q", "z"), "only reasoned")

    def test_what_a_chat_server_is_told(self, tmp_path: Path) -> None:
        p_keys = {"thinking": {"budget": 30}, "max_tokens": 5}
        manners = replace(self.CHAT, fields=self.CHAT.fields | self.FIELDS)
        with served(manners) as fake:
            q_keys = {"thinking": {"enabled": False}}
            one = scenario(tmp_path, fake.url, p=p_keys, q=q_keys)
            with open_engines(one) as opened:
                fake.begin()
                job = Job(one.pipeline.build(), Schedule(), Question("Why?"))
                opened.runtime.run([job])
            p, q, z = sorted(fake.bodies, key=lambda body: str(body.get("max_tokens")) == "512")
        assert (p["max_tokens"], p["thinking_token_budget"]) == (35, 30)
        assert "thinking_budget_tokens" not in p
        told = [body.get("chat_template_kwargs") for body in (q, z)]
        assert {"enable_thinking": False} in told
        assert None in told

    @pytest.mark.parametrize(("key", "value"), [("budget", 30), ("enabled", 0), ("enabled", 1)])
    def test_what_it_does_not_take(self, tmp_path: Path, key: str, value: int) -> None:
        with served(self.CHAT) as fake:
            said = value if key == "budget" else bool(value)
            one = scenario(tmp_path, fake.url, q={"thinking": {key: said}})
            with (
                pytest.raises(EngineError, match=f"agent 'q': thinking.{key}: the server of"),
                open_engines(one),
            ):
                pass

    def test_tags_by_a_completions_server(self, tmp_path: Path) -> None:
        with served(Manners(reply=reply_with("<think>hm</think>Yes."), takes_ids=False)) as fake:
            agents: dict[str, Any] = {name: {"thinking": {}} for name in "pqz"}
            outcome = play(scenario(tmp_path, fake.url, "completions", **agents))
        assert outcome.texts == {"p": "Yes.", "q": "Yes.", "z": "Yes."}

    def test_who_thinks_is_not_scored(self, tmp_path: Path) -> None:
        with served(Manners()) as fake:
            one = scenario(tmp_path, fake.url, "completions", z={"thinking": {}})
            with open_engines(one) as opened:
                why = opened.why_no_scores(one.pipeline.build())
        assert why
        assert "z thinks before it writes" in why

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            ({"budget": -1}, "budget"),
            ({"budget": 3, "enabled": False}, "budget has no effect beside enabled: false"),
            ({"tags": ["a"]}, "tags"),
            ({"tags": [" a", "b"]}, "must have no space around them"),
            ({"tags": ["", "b"]}, "tags"),
            ({"effort": "low"}, "unknown key 'effort'"),
        ],
    )
    def test_wrong_keys(self, tmp_path: Path, keys: dict[str, Any], words: str) -> None:
        with pytest.raises(ScenarioError, match=words):
            scenario(tmp_path, "http://127.0.0.1:1/v1", z={"thinking": keys})


def reply_with(words: str) -> Callable[[str], Reply]:
    return lambda prompt: Reply(words)
