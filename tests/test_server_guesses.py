"""Guesses behind servers: they change no text, and cost what is said of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from executor.embedded_models import MODEL_FOLDERS
from executor.engine import CallReport, EngineCall, Thought
from executor.openai.engine import OpenAIEngine
from executor.openai.expected_pieces import ExpectedPieces
from executor.openai.judged_guess import NEAR_TIE, Answer, AskedGuess, judged
from executor.openai.restating import Unseamed
from executor.openai.server_scoring import TopDistribution
from executor.openai.stream_chunks import Usage, read_chunk
from executor.openai.vocabularies import TextPieces
from executor.opened_engines import open_engines, read_dataset
from executor.prefix import common_prefix
from executor.runtime import Job, Outcome, Runtime, ServedModel
from planner.tables.engine_table import describe_engines
from staircase import Schedule, constant, moa, uniform
from staircase.errors import EngineError, ScheduleError
from staircase.spec.engine_spec import OpenAISpec, ServerGuesses
from staircase.spec.scenario import Scenario, load_scenario
from tests.support.backends import FORM, QUESTION, open_engine
from tests.support.command_line import staircase as staircase_command
from tests.support.model_server import ModelServer, greedy_model
from tests.support.scripted_engine import RecallingEngine
from tests.test_cli import DEMO
from tests.test_openai_engine import Recorder
from tests.test_real_server import AGENTS, EMBEDDED, play, staircase
from tests.test_real_server import scenario as scenario_of

PROMPT = "why, and what for, does it rain in may?\n"
SCORED: tuple[ServerGuesses, ...] = ("prompt_logprobs", "generate")
EVERY: tuple[ServerGuesses, ...] = (*SCORED, "prediction")
every_kind = pytest.mark.parametrize("kind", EVERY)
every_scored = pytest.mark.parametrize("kind", SCORED)


@dataclass(frozen=True)
class Setting:
    """A server with a model, and an engine that tells it guesses."""

    server: ModelServer
    engine: OpenAIEngine
    folder: Path

    def text(self, tokens: int, prompt: str = PROMPT) -> list[int]:
        """What the model writes, in ids of the engine."""
        model = greedy_model(str(self.folder))
        ids = list(model.tokens(model.model.encode(prompt), tokens))
        if ids[-1] in model.model.end_ids:
            ids.pop()
        text = model.model.tokenizer.decode(ids, skip_special_tokens=True)
        return ids if self.engine.sends_ids else self.engine.encode(text)

    def write(
        self, guess: Sequence[int], tokens: int = 12, prompt: str = PROMPT, **options: Any
    ) -> tuple[list[int], CallReport]:
        recorder = Recorder()
        ids = self.engine.encode(prompt)
        self.engine.submit(EngineCall((0, 0), ids, tokens, guess=guess, **options), recorder)
        report = recorder.report()
        return recorder.ids, report

    def other(self, token: int) -> int:
        """A token that is not ``token``."""
        return next(one for one in self.engine.encode("ab") if one != token)


@contextmanager
def setting(kind: ServerGuesses, folder: Path, **options: Any) -> Iterator[Setting]:
    api = "chat" if kind == "prediction" else "completions"
    with ModelServer(kind, folder) as server, ExitStack() as stack:
        engine = open_engine(stack, server.url, folder, **{"guesses": kind, "api": api, **options})
        server.begin()
        yield Setting(server, engine, folder)


# calls


@every_kind
class TestOneCall:
    @pytest.mark.parametrize("right", [0, 1, 5, 11, 12])
    def test_a_text_does_not_depend_on_its_guess(
        self, kind: ServerGuesses, letter_model: Path, right: int
    ) -> None:
        with setting(kind, letter_model) as it:
            text = it.text(14)
            guess = [*text[:right], *map(it.other, text[right:12])]
            written, report = it.write(guess)
            assert written == text[:12]
            assert (report.reason, report.error, report.remark) == ("length", None, None)
            assert report.guessed_tokens == right
            assert len(it.server.guesses()) == 1

    def test_an_empty_guess_is_not_told(self, kind: ServerGuesses, letter_model: Path) -> None:
        with setting(kind, letter_model) as it:
            written, report = it.write([])
            assert written == it.text(12)
            assert report.guessed_tokens == 0
            assert it.server.guesses() == []
            assert len(it.server.asked) == 1

    def test_a_guess_may_be_longer_than_the_text(
        self, kind: ServerGuesses, letter_model: Path
    ) -> None:
        with setting(kind, letter_model) as it:
            written, report = it.write(it.text(30), tokens=12)
            assert written == it.text(12)
            assert report.reason == "length"

    def test_what_is_measured_tells_none(self, kind: ServerGuesses, letter_model: Path) -> None:
        with setting(kind, letter_model) as it:
            written, _ = it.write(it.text(12), is_measured=True)
            assert written == it.text(12)
            assert it.server.guesses() == []


@every_scored
class TestScored:
    def test_a_text_may_end_within_its_guess(self, kind: ServerGuesses) -> None:
        """After what is right; the end itself may have been guessed, and what follows it."""
        with setting(kind, EMBEDDED) as it:
            prompt = "storm in belmar <write> "
            text = it.text(60, prompt)
            assert 2 < len(text) < 60
            for end in ([], sorted(it.server.ends)[:1]):
                written, report = it.write([*text, *end, *text[:4]], 60, prompt)
                assert written == text
                assert (report.reason, report.error) == ("stop", None)
                assert report.guessed_tokens == len(text)

    def test_the_second_likeliest_token_falls(
        self, kind: ServerGuesses, letter_model: Path
    ) -> None:
        with setting(kind, letter_model) as it:
            text = it.text(12)
            ids = [*it.engine.encode(PROMPT), *text]
            row = it.server.greedy.scores(tuple(ids))[-10]
            second = int(row.topk(2).indices[1])
            written, report = it.write([*text[:3], second, *text[4:]])
            assert written == text
            assert report.guessed_tokens == 3

    def test_what_is_right_costs_two_prompts_and_one_token(
        self, kind: ServerGuesses, letter_model: Path
    ) -> None:
        """The server's own token after what is right is told with it."""
        with setting(kind, letter_model) as it:
            text = it.text(12)
            for guess in (text[:7], [*text[:7], it.other(text[7]), *text[8:]]):
                it.server.begin()
                it.write(guess)
                (_, first), (path, second) = it.server.asked
                assert first.get("max_tokens", 1) == 1
                assert path == "/v1/completions"
                assert second["prompt"] == [*it.engine.encode(PROMPT), *text[:8]]
                assert second["max_tokens"] == 4

    def test_one_that_is_all_right_costs_one_prompt(
        self, kind: ServerGuesses, letter_model: Path
    ) -> None:
        with setting(kind, letter_model) as it:
            for tokens in (12, 13):
                it.server.begin()
                written, report = it.write(it.text(12), tokens)
                assert written == it.text(tokens)
                assert (report.reason, len(it.server.asked)) == ("length", 1)

    def test_cached_tokens_are_those_of_the_pass_that_judges(
        self, kind: ServerGuesses, letter_model: Path
    ) -> None:
        """vLLM computes the whole prompt, SGLang its last token."""
        with setting(kind, letter_model) as it:
            prompt, text = len(it.engine.encode(PROMPT)), it.text(12)
            _, first = it.write([])
            _, again = it.write([])
            _, report = it.write(text[:6])
            whole = 16 * ((prompt + 5) // 16) if kind == "prompt_logprobs" else prompt + 6
            assert first.cached_tokens == 0 < again.cached_tokens
            assert report.cached_tokens == (0 if kind == "prompt_logprobs" else prompt - 1)
            # The prompt that goes on, but for what was cached of it.
            assert report.added_tokens == prompt + 7 - whole

    def test_what_is_drawn_is_written_without(
        self, kind: ServerGuesses, letter_model: Path
    ) -> None:
        with setting(kind, letter_model) as it:
            it.write(it.text(12), sampling={"temperature": 0.7})
            assert it.server.guesses() == []

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_connection_that_breaks_is_tried_again(
        self, kind: ServerGuesses, letter_model: Path, number: int
    ) -> None:
        """What was judged is not judged again, and nothing is shown twice."""
        with setting(kind, letter_model, tries=2) as it:
            it.server.begin(frozenset([number]))
            text = it.text(12)
            written, report = it.write([*text[:5], it.other(text[5])])
            assert written == text
            assert report.error is None
            assert len(it.server.asked) == 3
            assert len(it.server.guesses()) == 2 - number

    def test_one_that_breaks_for_good_is_told(
        self, kind: ServerGuesses, letter_model: Path
    ) -> None:
        with setting(kind, letter_model, tries=1) as it:
            it.server.begin(frozenset([1]))
            text = it.text(12)
            written, report = it.write(text[:5])
            assert written == text[:6]
            assert "the connection broke" in str(report.error)


class TestPrediction:
    def test_a_text_may_end_within_its_guess(self, letter_model: Path) -> None:
        with setting("prediction", letter_model) as it:
            text, letters = (
                it.text(12),
                it.server.greedy.model.encode(it.engine.decode(it.text(12))),
            )
            last = next(n for n in range(2, 12) if letters[n] not in letters[:n])
            it.server.ends = frozenset([letters[last]])
            written, report = it.write(text)
            assert written == text[:last]
            assert (report.reason, report.guessed_tokens) == ("stop", last)

    def test_what_is_sent(self, letter_model: Path) -> None:
        with setting("prediction", letter_model) as it:
            text = it.text(12)
            it.write(text[:9])
            (_, body) = it.server.asked[0]
            content = it.engine.decode(text[:9])
            assert body["prediction"] == {"type": "content", "content": content}
            assert body["max_tokens"] == 12

    def test_what_was_predicted_wrong_is_made_up_for(self, letter_model: Path) -> None:
        """It counted against max_tokens, so the first answer is too short."""
        with setting("prediction", letter_model) as it:
            text = it.text(12)
            written, report = it.write([*text[:4], *map(it.other, text[4:9])])
            assert written == text
            _, (_, second) = it.server.asked
            assert second["max_tokens"] == 5
            assert "prediction" not in second
            assert second["messages"][-1]["content"] == it.engine.decode(text[:7])
            assert report.guessed_tokens == 4

    def test_tokens_are_those_that_were_said(self, letter_model: Path) -> None:
        """Though what was right comes in one piece, and no tokenizer says where to cut it."""
        with setting("prediction", letter_model, tokenizer=None) as it:
            first, _ = it.write([])
            again, report = it.write(first[:8])
            assert again == first
            assert len(first) == 12
            assert report.guessed_tokens == 8


# what a server's answer says


def place(drawn: int, **tops: float) -> TopDistribution:
    return TopDistribution({name[1:]: value for name, value in tops.items()}, str(drawn))


def judge(places: Sequence[TopDistribution], after: int | None = 9) -> Any:
    asked = AskedGuess("m", [1], [int(one.drawn) for one in places])
    return judged(asked, Answer(places, after, None), frozenset([0]))


RIGHT = place(5, t5=-0.1, t6=-2.5)
WRONG = place(6, t5=-0.1, t6=-2.5)


@pytest.mark.parametrize(
    ("places", "after", "tokens", "kept", "near_ties"),
    [
        ([RIGHT, RIGHT], 9, (5, 5, 9), 2, 0),
        ([RIGHT, RIGHT], None, (5, 5), 2, 0),
        # What may end a text is the server's to write.
        ([RIGHT], 0, (5,), 1, 0),
        ([RIGHT, place(6, t0=-0.1, t6=-2.5)], 9, (5,), 1, 0),
        ([RIGHT, WRONG, RIGHT], 9, (5, 5), 1, 0),
        # Two that are as likely: nobody knows which the server would take.
        ([RIGHT, place(6, t5=-0.5, t6=-0.5)], 9, (5,), 1, 1),
        ([place(7, t5=-0.5, t6=-0.5, t7=-1.0)], 9, (), 0, 0),
        ([place(5, t5=-0.5, t6=-0.5 - NEAR_TIE / 2), RIGHT], 9, (5, 5, 9), 2, 1),
        ([place(6, t5=-0.5, t6=-0.5 - NEAR_TIE / 2), RIGHT], 9, (5,), 0, 1),
    ],
)
def test_what_stands(
    places: list[TopDistribution],
    after: int | None,
    tokens: tuple[int, ...],
    kept: int,
    near_ties: int,
) -> None:
    found = judge(places, after)
    assert (found.tokens, found.kept, found.near_ties) == (tokens, kept, near_ties)


def test_near_ties_are_told(letter_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with setting("generate", letter_model) as it:
        monkeypatch.setattr("executor.openai.judged_guess.NEAR_TIE", 1e6)
        text = it.text(12)
        _, report = it.write(text[:5])
        assert report.near_ties == 5


@given(
    st.lists(st.text("ab ", max_size=3), max_size=8),
    st.text("ab ", max_size=12),
    st.data(),
)
def test_pieces_are_those_that_are_expected(
    expected: list[str], end: str, data: st.DataObject
) -> None:
    """However the same text comes; of another one nothing is lost."""
    pieces = TextPieces("x")
    whole = "".join(expected)
    text = whole[: data.draw(st.integers(0, len(whole)))] + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    came = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    filtered = ExpectedPieces(Unseamed(), [pieces.piece(one) for one in expected], pieces)
    shown = [one for piece in came for one in filtered.pass_on([pieces.piece(piece)])]
    shown += filtered.rest()
    assert pieces.decode(shown) == text
    told = [pieces.decode([one]) for one in shown]
    same, letters = 0, 0
    for one in expected:
        letters += len(one)
        if not text.startswith("".join(expected[: same + 1])) or letters == len(text):
            break
        same += 1
    assert told[:same] == expected[:same]


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        (
            '{"choices": [], "usage": {"completion_tokens": 30, "completion_tokens_details": '
            '{"accepted_prediction_tokens": 8, "rejected_prediction_tokens": 5}}}',
            Usage(25, None, 0, 8, 5),
        ),
        (
            '{"choices": [], "usage": {"completion_tokens": 64}, "timings": '
            '{"predicted_n": 64, "draft_n": 17, "draft_n_accepted": 16}}',
            Usage(64, None, 0, 16, 0, 48),
        ),
        (
            '{"choices": [], "usage": {"completion_tokens": 64}, "timings": {"predicted_n": 64}}',
            Usage(64, None, 0, 0, 0, 64),
        ),
    ],
)
def test_what_servers_count(said: str, usage: Usage) -> None:
    assert read_chunk(said).usage == usage


# who cannot


def options(**more: Any) -> dict[str, Any]:
    return {"kind": "openai", "base_url": "http://x/v1", "model": "m", **more}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"guesses": "echo"}, "'prediction', 'prompt_logprobs' or 'generate'"),
        (
            {"guesses": "generate", "tokenizer": "embedded", "temperature": 0.5},
            "guesses: generate tells greedy text only; temperature must be 0",
        ),
        ({"guesses": "prompt_logprobs"}, "give the model's tokenizer"),
        (
            {"guesses": "generate", "tokenizer": "embedded", "api": "chat"},
            "api must be completions",
        ),
    ],
)
def test_options_that_make_no_sense(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OpenAISpec.model_validate(options(**more))


@pytest.mark.parametrize(
    ("kind", "guesses", "message"),
    [
        ("generate", "prompt_logprobs", "not the log-probabilities of a"),
        ("prompt_logprobs", "generate", "HTTP 404"),
    ],
)
def test_a_server_of_another_kind_is_told(
    letter_model: Path, kind: ServerGuesses, guesses: str, message: str
) -> None:
    said = rf"engine 'served': guesses: {guesses}: .*{message}"
    with (
        ModelServer(kind, letter_model) as server,
        ExitStack() as stack,
        pytest.raises(EngineError, match=said),
    ):
        open_engine(stack, server.url, letter_model, guesses=guesses)


def test_a_server_that_takes_no_prediction_is_told(letter_model: Path) -> None:
    with ModelServer("generate", letter_model) as server, ExitStack() as stack:
        server.refused = "prediction"
        with pytest.raises(EngineError, match="the server does not take a prediction"):
            open_engine(stack, server.url, letter_model, guesses="prediction")


@every_scored
def test_a_server_that_chooses_otherwise_is_told(kind: ServerGuesses, letter_model: Path) -> None:
    """As one with a repetition penalty that nobody asked for."""
    with ModelServer(kind, letter_model) as server, ExitStack() as stack:
        server.chooses = lambda text: int(
            server.greedy.scores(tuple(text))[-1].topk(2).indices[int(len(text) % 3 == 0)]
        )
        with pytest.raises(EngineError, match="does not choose by the log-probabilities"):
            open_engine(stack, server.url, letter_model, guesses=kind)


# requests


def remote(server: ModelServer, folder: Path, **more: Any) -> dict[str, Any]:
    api = "chat" if server.kind == "prediction" else "completions"
    found = {"model": str(folder), "tokenizer": str(folder), "api": api, "guesses": server.kind}
    return options(**found, base_url=server.url) | more


def texts(outcome: Outcome) -> list[str]:
    assert outcome.timeline.error is None
    return outcome.texts["editor"].split()


@every_kind
@pytest.mark.parametrize("level", [None, 24])
def test_texts_that_are_checked_are_the_in_process_engines(
    kind: ServerGuesses, letter_model: Path, level: int | None
) -> None:
    schedule = replace(staircase(), checked=level)
    with ModelServer(kind, letter_model, token_s=0.003) as server:
        found = play(remote(server, letter_model), AGENTS, schedule)
        assert server.guesses()
    if level is None:
        here = play({"model": str(letter_model)}, AGENTS, Schedule(layout="rebuild"))
        assert texts(found) == texts(here)
    spans = [span for span in found.timeline.spans if span.agent == "editor"]
    assert any(span.checked_tokens for span in spans)


def test_without_the_option_they_are_refused(letter_model: Path) -> None:
    schedule = replace(staircase(), checked=None)
    with ModelServer("generate", letter_model) as server:
        engine = remote(server, letter_model, guesses=None)
        with pytest.raises(ScheduleError, match=r"without engines\.e\.guesses"):
            play(engine, AGENTS, schedule)


@pytest.mark.parametrize("budget", [0, 8])
def test_who_thinks_cannot_be_checked(budget: int) -> None:
    """What a chat server thinks of which nothing is said is read over."""
    pipeline = moa([["a"]], "z")
    schedule = replace(uniform(pipeline, constant(4, 4, 4), "rebuild"), checked=None)
    thought = Thought(("<t>", "</t>"), budget)
    served = ServedModel(RecallingEngine(9), FORM, thoughts={"z": thought})
    runtime = Runtime(dict.fromkeys(pipeline.engines, served))
    job = Job(pipeline, schedule, QUESTION)
    if not budget:
        assert runtime.run([job])[0].timeline.error is None
        return
    with pytest.raises(ScheduleError, match="'z' thinks before it answers"):
        runtime.run([job])


def test_engines_are_shown_with_how_they_are_told(letter_model: Path) -> None:
    content = {"name": "x", "pipeline": {"single": "a"}}
    with ModelServer("generate", letter_model) as server:
        engines = {"a": remote(server, letter_model)}
        (found,) = describe_engines(Scenario.model_validate({**content, "engines": engines}))
    assert found.guesses == "by generate"


@pytest.mark.slow
@every_scored
def test_texts_of_the_demo_are_the_in_process_engines(kind: ServerGuesses) -> None:
    """Much of what is checked stands here."""
    scenario = load_scenario(DEMO)
    schedule = Schedule({"editor": constant(16, 16, 24)}, "rebuild", checked=None)
    pipeline = scenario.pipeline.build()
    jobs = [Job(pipeline, schedule, one) for one in read_dataset(scenario, DEMO.parent, 1, 0)]
    (model,) = {spec.model for spec in scenario.real.values()}
    folder = MODEL_FOLDERS[model]
    with ModelServer(kind, folder, token_s=0.005) as server:
        content = remote(server, folder, model=model, tokenizer=model)
        engines = {
            name: OpenAISpec.model_validate({**content, "format": spec.format})
            for name, spec in scenario.real.items()
        }
        with open_engines(scenario.model_copy(update={"engines": engines})) as opened:
            there = opened.runtime.run(jobs)
    with open_engines(scenario) as opened:
        here = opened.runtime.run(jobs)
    for one, other in zip(there, here, strict=True):
        assert one.ids["editor"] == other.ids["editor"]
        assert common_prefix(list(one.ids["editor"]), list(other.ids["editor"])) > 20
    spans = [span for one in there for span in one.timeline.spans]
    assert sum(span.kept_tokens for span in spans) > 0


def test_the_commands_take_it(letter_model: Path, tmp_path: Path) -> None:
    """And plan says why it does not."""
    schedule = ["--staircase", "constant:8,8,6", "--layout", "rebuild", "--checked", "all"]
    path = tmp_path / "x.yaml"
    with ModelServer("generate", letter_model, token_s=0.003) as server:
        content = scenario_of(remote(server, letter_model), AGENTS).model_dump(
            mode="json", exclude_unset=True
        )
        path.write_text(yaml.safe_dump(content))
        found = staircase_command("run", str(path), "why", *schedule)
        assert found.returncode == 0, found.stderr
        assert "share kept of what was checked" in found.stderr
        assert server.guesses()
        path.write_text(yaml.safe_dump({**content, "plan": {"checked": ["all"]}}))
        refused = staircase_command("plan", str(path))
    assert refused.returncode != 0
    assert "forecasts do not know what a check costs at a server" in refused.stderr
