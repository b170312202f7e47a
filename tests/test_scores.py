"""Task scores: the named ones by hand, and functions of users."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from executor.embedded import task
from executor.embedded.tasks import TASKS
from executor.scoring.scores import NAMED, answer_scorer, exact_match, token_f1
from staircase.errors import ScenarioError
from staircase.spec.scenario import SCORES, RequestsSpec, load_scenario
from staircase.workload import Question
from tests.test_cli import DEMO

ASKED = Question("Which city?", {"north": "notes"}, "The Hague")


def test_every_name_that_a_scenario_may_say_is_there() -> None:
    assert set(SCORES) == set(NAMED)


def test_normalisation_is_squads() -> None:
    assert exact_match("hague!", "The Hague") == 1
    assert exact_match("Hague, NL", "The Hague") == 0
    assert exact_match("theory", "ory") == 0, "articles are words"


def test_f1_by_hand() -> None:
    # 2 of 3 tokens of the answer, 2 of 4 of the reference: P = 2/3, R = 1/2.
    assert token_f1("a red red fox", "red fox jumps high") == pytest.approx(2 * 2 / (3 + 4))
    assert token_f1("red red", "red fox") == pytest.approx(1 / 2)
    assert token_f1("", "red") == 0
    assert token_f1("the", "") == 1


@given(st.text(), st.text())
def test_scores_lie_in_0_to_1_and_match_themselves(one: str, other: str) -> None:
    assert 0 <= token_f1(one, other) <= 1
    assert token_f1(one, other) == token_f1(other, one)
    assert token_f1(one, one) == exact_match(one, one) == 1
    assert exact_match(one, other) <= token_f1(one, other)


@pytest.mark.parametrize(("dataset", "fields"), [("embedded", 14), ("embedded-hard", 8)])
def test_what_is_scored_unless_the_scenario_says(dataset: str, fields: int) -> None:
    told = TASKS[dataset].bulletin_text({name: task.FIELDS[name][0] for name in task.FIELDS})
    wrong_day = told.replace("monday", "sunday")
    question = Question("bulletin", reference=told)
    share = answer_scorer(RequestsSpec(dataset=dataset), Path())(question, wrong_day)
    assert share == 1 - 1 / fields
    assert answer_scorer(RequestsSpec(dataset="own.jsonl"), Path())(question, wrong_day) == 0
    assert answer_scorer(RequestsSpec(score="f1"), Path())(question, wrong_day) > 0.9  # type: ignore[operator]


def test_without_a_reference_there_is_no_score() -> None:
    assert answer_scorer(RequestsSpec(score="f1"), Path())(Question("?"), "x") is None


class TestUserFunctions:
    def scored(self, folder: Path, body: str, name: str = "score.py:grade") -> float | None:
        (folder / "score.py").write_text(f"def grade(question, answer, reference):\n{body}\n")
        return answer_scorer(RequestsSpec(score=name), folder)(ASKED, "Hague")

    def test_sees_question_answer_and_reference(self, tmp_path: Path) -> None:
        seen = "('Which city?\\nnorth: notes', 'Hague', 'The Hague')"
        body = f"    return 0.25 * ((question, answer, reference) == {seen})"
        assert self.scored(tmp_path, body) == 0.25

    def test_may_import_its_neighbours_and_numpy(self, tmp_path: Path) -> None:
        (tmp_path / "half_of_test_scores.py").write_text("import numpy\nHALF = numpy.float32(0.5)")
        body = "from half_of_test_scores import HALF\ndef grade(q, a, r):\n    return HALF"
        (tmp_path / "mod_of_test_scores.py").write_text(body)
        for name in ("mod_of_test_scores.py:grade", "mod_of_test_scores:grade"):
            assert answer_scorer(RequestsSpec(score=name), tmp_path)(ASKED, "x") == 0.5

    @pytest.mark.parametrize("value", ["1.5", "-0.1", "float('nan')", "None", "'0.5'", "[1]"])
    def test_a_wrong_return_is_told(self, tmp_path: Path, value: str) -> None:
        with pytest.raises(
            ScenarioError, match=r"^requests.score: score.py:grade returned .*number from 0 to 1$"
        ):
            self.scored(tmp_path, f"    return {value}")

    def test_what_it_raises_is_told_in_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(ScenarioError, match=r"grade failed: ValueError: no good") as told:
            self.scored(tmp_path, "    raise ValueError('no\\ngood')")
        assert "\n" not in str(told.value)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("nowhere.py:grade", "nowhere.py cannot be imported: FileNotFoundError"),
            ("no_such_module_here:grade", "cannot be imported: ModuleNotFoundError"),
            ("score.py:grad", r"score.py has no function 'grad'; it should be def grad\("),
        ],
    )
    def test_what_is_not_there_is_told(self, tmp_path: Path, name: str, words: str) -> None:
        with pytest.raises(ScenarioError, match=words):
            self.scored(tmp_path, "    return 1", name)


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ({"score": "exact-match"}, r"requests.score: .*did you mean 'exact_match'\?"),
        ({"score": "bleurt"}, "one of exact_match, f1, field_accuracy, or your own function as in"),
        ({"score": "f1", "scor": "f1"}, "did you mean 'score'"),
        (
            {"score": "field_accuracy", "dataset": "q.jsonl"},
            "score: field_accuracy needs",
        ),
    ],
)
def test_wrong_choices_name_the_key(tmp_path: Path, requests: dict[str, str], words: str) -> None:
    content = yaml.safe_load(DEMO.read_text()) | {"requests": requests}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ScenarioError, match=words):
        load_scenario(tmp_path / "s.yaml")
