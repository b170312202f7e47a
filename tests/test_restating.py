"""Answers that go on though the server cannot continue them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.openai.probe import _how_continued
from executor.openai.restating import Seam
from executor.openai.server_profile import ServerProfile
from executor.openai.vocabularies import TextPieces
from executor.opened_engines import open_engines, read_dataset
from executor.runtime import Job
from executor.tokens.chat_template import GO_ON
from staircase.schedule import LAYOUTS, Layout, constant, uniform
from staircase.spec.scenario import Scenario
from staircase.workload import Question
from tests.support.chat_scenario import chat_scenario
from tests.support.command_line import staircase
from tests.support.fake_server import FakeServer, Manners
from tests.test_openai_engine import numbers, setting
from tests.test_remote_scenarios import demo

CHATS = frozenset({"chat/completions"})
LENIENT = Manners(paths=CHATS, assistant="begins anew", drops_space=True)


def shown(so_far: str, *chunks: str) -> str:
    """What is shown of ``chunks``; none of them is lost as a token."""
    pieces = TextPieces("text")
    seam, found, count = Seam(so_far, pieces), list[int](), 0
    for chunk in chunks:
        found += seam.pass_on([pieces.piece(chunk)])
        count += 1
    found += seam.rest()
    assert len(found) == count
    return pieces.decode(found)


@pytest.mark.parametrize(
    ("so_far", "came", "seen"),
    [
        ("The cat", ["sat", " down"], " sat down"),
        ("The cat", [" sat"], " sat"),
        ("The cat ", ["sat"], "sat"),
        ("The cat ", [" sat"], "sat"),
        ("The cat", [", then"], ", then"),
        ("It ends.", ["Then"], " Then"),
        ("(", ["aside"], "aside"),
        ("猫は", ["寝る"], "寝る"),
        ("", ["The", " cat"], "The cat"),
        # Its last words come again, with a space or without, or all of it.
        ("The cat sat", ["cat", " sat", " down"], " down"),
        ("The cat sat", [" sat down"], " down"),
        ("The cat sat ", ["sat down"], "down"),
        ("The cat sat", ["The", " cat", " sat", "."], "."),
        ("The cat sat", ["The cat sat"], ""),
        # A word that was cut off is finished.
        ("We climb a stair", ["staircase", " now"], "case now"),
        ("It is on the", ["there"], " there"),
        # What only looks like a repetition is none.
        ("the cat and the dog and the", [" cat", " is", " here"], " cat is here"),
        ("1 + 1", ["1 + 2"], " 1 + 2"),
        # It breaks off: a few words may be new, more of them were said before.
        ("The cat sat on the mat", ["the"], " the"),
        ("The cat sat on the mat", ["The", " cat", " sat"], ""),
    ],
)
def test_a_seam_is_closed(so_far: str, came: list[str], seen: str) -> None:
    assert shown(so_far, *came) == seen


@given(st.text("ab c.", max_size=12), st.lists(st.text("ab c.", max_size=4), max_size=6))
def test_no_token_is_lost_and_only_the_beginning_changes(so_far: str, came: list[str]) -> None:
    text = "".join(came)
    found = shown(so_far, *came)
    assert text.endswith(found) or found == f" {text}"


def test_tokens_wait_only_while_they_may_be_a_repetition() -> None:
    pieces = TextPieces("text")
    seam = Seam("the cat sat", pieces)
    waits = [len(seam.pass_on([pieces.piece(text)])) for text in (" the", " cat", " ran", " off")]
    assert waits == [0, 0, 3, 1]


@pytest.mark.parametrize(
    ("came", "found"),
    [
        (" 4 5 6", "goes on"),
        (" 4 9", "goes on"),
        ("4 5 6", "drops space"),
        (" 1 2 3 4", "not seen"),
        ("1 2 3 4", "not seen"),
        ("Sure! 4", "not seen"),
        ("", "not seen"),
    ],
)
def test_how_an_answer_was_continued(came: str, found: str) -> None:
    assert _how_continued(came, " 1 2 3", " 4 5 6") == found


class TestCalls:
    @pytest.mark.parametrize("repeats", [0, 2, 9])
    def test_go_on_after_the_restated_text(self, repeats: int) -> None:
        manners = Manners(paths=CHATS, drops_space=True, repeats=repeats)
        profile = ServerProfile("chat", frozenset({"stream_options"}))
        with setting(manners, profile) as it:
            recorder = it.call("q:", own="1 2 3", max_tokens=6)
            assert recorder.report().reason == "length"
            assert it.fake.bodies[0]["messages"] == [{"role": "user", "content": f"q:1 2 3{GO_ON}"}]
            assert len(recorder.ids) == 6, "the server wrote and counts them"
            assert it.written(recorder) == numbers(4, 9 - min(repeats, 3))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("repeats", [0, 3])
def test_a_staircase_is_written_whole_in_every_layout(
    tmp_path: Path, layout: Layout, repeats: int
) -> None:
    with FakeServer(replace(LENIENT, length=30, repeats=repeats)) as fake:
        found = demo(tmp_path, fake.url, api="auto")
        pipeline = found.pipeline.build()
        job = Job(pipeline, uniform(pipeline, constant(8, 8, 6), layout), ask(found, tmp_path))
        with open_engines(found) as opened:
            fake.begin()
            outcome = opened.runtime.run([job])[0]
        continued = [body for body in fake.bodies if body["messages"][0]["content"].endswith(GO_ON)]
    assert outcome.timeline.error is None
    assert len(continued) > 2
    assert all(len(body["messages"]) == 1 for body in fake.bodies)
    assert outcome.texts["editor"] == numbers(1, 30)[1:]


def ask(found: Scenario, folder: Path) -> Question:
    return read_dataset(found, folder, 1, 0)[0]


class TestCommands:
    """A server that cannot continue, and one that can."""

    def test_engines_says_how_answers_go_on(self, tmp_path: Path) -> None:
        for manners, restates in ((LENIENT, True), (replace(LENIENT, assistant="goes on"), False)):
            with FakeServer(replace(manners, drops_space=restates)) as fake:
                path = chat_scenario(tmp_path, fake.url)
                done, table = (staircase("engines", str(path), *more) for more in (("--json",), ()))
            assert done.returncode == 0, done.stderr
            for one in json.loads(done.stdout):
                assert one["api"] == "chat"
                assert one["continues"] == (not restates)
                assert one["goes_on"] == ("its text restated" if restates else "where it ended")
            assert "goes on" in table.stdout
