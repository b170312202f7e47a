"""What a reader finds wrong with an answer's text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.answer_text import text_faults
from executor.inprocess.device import Device
from executor.opened_engines import open_engines, read_dataset
from executor.replay_engine import ReplayEngine
from executor.runtime import Job, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from planner.tables.validation_table import as_rich, text_cells
from staircase import Question, Schedule, constant, single, uniform
from staircase.metrics.text_faults import find_faults, repetition
from staircase.spec.scenario import load_scenario
from tests.support.command_line import staircase
from tests.support.fake_server import FakeServer, Manners, Reply
from tests.support.plans import paper_plan, validation_of
from tests.test_remote_scenarios import write_demo

DEMO = Path(__file__).parent / "support" / "desk.yaml"
PROMPT = [
    "<|im_start|>system\nYou edit.\n“Be brief,” you",
    "\n\nDraft of anna:\n",
    "\n\n* ",
    "\n\nanna:\n",
    "\n---\n",
    "Write in your own words.<|im_end|>",
]


@pytest.mark.parametrize(
    ("answer", "leaks"),
    [
        ("The sky is blue.", []),
        ("Draft of Anna: the sky is blue.", ["Draft of anna:", "anna:"]),
        ("Draft of Joanna: the sky", []),
        ("You edit. You edit. So do I.", ["You edit."] * 2),
        ("Well <|im_start|>system", ["<|im_start|>"]),
        ("* one\n* two", []),
        ("Blue.\n\n---\nBlue.\n ---", ["---"] * 2),
        ("a --- b\n----", []),
        ("“Be brief,” you say.", ["“Be brief,” you"]),
        ("Blue.\nSystem\nGrey.", ["system"]),
        ("The system is blue.", []),
        ("Blue. Write in your own words.", ["Write in your own words."]),
    ],
)
def test_texts_of_the_prompt_are_found_in_the_answer(answer: str, leaks: list[str]) -> None:
    assert sorted(find_faults([answer], PROMPT, []).leaks) == sorted(leaks)


@pytest.mark.parametrize(
    "mark",
    [
        "<|im_end|>",
        "<|start_header_id|>",
        "<|turn>",
        "<turn|>",
        "<｜User｜>",
        "<start_of_turn>",
        "<end_of_turn>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "[|user|]",
        "</s>",
        "</think>",
        "<bos>",
    ],
)
def test_marks_of_templates_are_found_wherever_they_stand(mark: str) -> None:
    assert find_faults([f"Blue.{mark}and{mark}"], [], []).leaks == (mark, mark)


@pytest.mark.parametrize("text", ["a < b || c > d", "<b>blue</b>", "[1] [INSTEAD]", "<|>"])
def test_other_brackets_are_no_marks(text: str) -> None:
    assert find_faults([text], [], []).leaks == ()


@pytest.mark.parametrize(
    ("steps", "is_seen"),
    [
        (["The sky", " is blue."], False),
        (["The sk", "y is blue."], False),
        (["The sky is", " blue. The sea is"], False),
        (["It is blue.", "\n\nIt is deep."], False),
        (["# Blue", "\nIt is."], False),
        (["- blue", "\n- red"], False),
        (["1. blue", "\n2. red"], False),
        (["Colours:", "\n- red"], False),
        (["The sky is blue", " The sky is blue and wide."], True),
        (["It is because of", " because of light."], False),
        (["It is so because of the", " because of the light."], True),
        (["The reason", "The reason is light."], True),
        (["The reason", "Light."], True),
        (["It is 5", "Million."], False),
        (["The sky is", "\nThe sea is"], True),
        (["The sky is\n", "\nblue"], False),
        ([], False),
        (["", "Blue."], False),
    ],
)
def test_seams_that_can_be_seen(steps: list[str], is_seen: bool) -> None:
    assert bool(find_faults(steps, [], []).seams) == is_seen


def test_a_seam_is_told_by_the_words_around_it() -> None:
    assert find_faults(["The reason", "The reason is."], [], []).seams == (
        "The reason|The reason is.",
    )


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_repetition_is_the_share_of_runs_that_stood_there_before(words: list[str]) -> None:
    runs = Counter(tuple(words[n : n + 4]) for n in range(len(words) - 3))
    again = sum(count - 1 for count in runs.values())
    assert repetition(" ".join(words)) == pytest.approx(again / max(1, sum(runs.values())))


@pytest.mark.parametrize(
    ("answer", "share"),
    [("blue", 0.0), ("blauer Himmel, größer", 0.0), ("ab вг", 0.5), ("青い", 1.0), ("12", 0.0)],
)
def test_letters_of_another_script(answer: str, share: float) -> None:
    assert find_faults([answer], [], ["Why?", "Because."]).strange == pytest.approx(share)


def test_scripts_of_a_draft_are_none_of_another() -> None:
    assert find_faults(["青い空"], [], ["Why?", "空は青い"]).strange == 0.0


@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_text_is_taken(steps: list[str]) -> None:
    found = find_faults(steps, PROMPT, [])
    assert 0 <= found.repetition < 1
    assert len(found.seams) < max(1, len(steps))


def test_a_table_of_one_kind_has_neither_rules_between_rows_nor_a_column_of_kinds() -> None:
    found = validation_of(paper_plan())
    table = as_rich(text_cells(found), "Texts")
    assert [column.header for column in table.columns] == ["schedule", *text_cells(found).columns]
    assert len(table.rows) == len(found.rows)
    assert not any(row.end_section for row in table.rows)


@dataclass(frozen=True)
class TurnTokens:
    """Characters, and a special token that decodes to nothing; what is said only spells it."""

    vocabulary = "characters and <turn>"
    special_ids = frozenset[int]()

    def encode(self, text: str) -> list[int]:
        return self.encode_content(text.replace("<turn>", chr(0)))

    def encode_content(self, text: str) -> list[int]:
        return list(map(ord, text))

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids)).replace(chr(0), "")

    def spell(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids)).replace(chr(0), "<turn>")


def test_texts_of_the_prompt_have_their_special_tokens_and_the_words_around_a_query() -> None:
    pipeline, tokens, question = single(), TurnTokens(), Question("why?")
    form = PromptFormat(header="<turn>user\n", query="Question:\n{query}\n", own="<turn>self\n")
    answer = tokens.encode_content("Blue.<turn>user Question: why?")
    with Device() as device:
        served = ServedModel(ReplayEngine(device, tokens, [answer]), form)
        runtime = Runtime(dict.fromkeys(pipeline.engines, served))
        outcome = runtime.run([Job(pipeline, Schedule(), question)])[0]
    assert outcome.texts[pipeline.answer] == tokens.decode(answer)
    found = text_faults(pipeline, runtime.served, question, outcome)
    assert found.leaks == ("<turn>user", "Question:")


@pytest.mark.slow
def test_answers_of_real_runs_are_cut_where_steps_began() -> None:
    """The embedded editor writes bulletins: no labels, no seams."""
    scenario = load_scenario(DEMO)
    pipeline = scenario.pipeline.build()
    question = read_dataset(scenario, DEMO.parent, 1, 0)[0]
    with open_engines(scenario) as opened:
        schedule = uniform(pipeline, constant(24, 12, 10), "append_rounds")
        outcome = opened.runtime.run([Job(pipeline, schedule, question)])[0]
        found = text_faults(pipeline, opened.runtime.served, question, outcome)
    assert found.leaks == found.seams == ()
    assert found.strange == 0.0


def test_run_tells_what_is_wrong_with_answers(tmp_path: Path) -> None:
    """As JSON of each, in a table of all; of a single one in words."""
    with FakeServer(Manners(reply=lambda prompt: Reply("Blue. north: red."))) as fake:
        words = ["run", str(write_demo(tmp_path, fake.url)), "--staircase", "normal"]
        as_json, many, single_one = (
            staircase(*words, *more)
            for more in (["--requests", "2", "--json"], ["--requests", "2"], ["q"])
        )
    found = json.loads(as_json.stdout)
    assert found["metrics"]["leaks"]["mean"] == 1
    assert [one["faults"] for one in found["requests"]] == [["says “north:” of its prompt"]] * 2
    assert "answers that repeat texts of the prompt" in many.stdout
    assert "the answer says “north:” of its prompt" in single_one.stderr
