"""Questions of our own and of the usual question sets."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from staircase.errors import WorkloadError
from staircase.question_sets import read_questions
from staircase.workload import Question

EXAMPLES = Path(__file__).parents[1] / "examples"


def written(folder: Path, *entries: Any) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.mark.parametrize(
    ("entry", "question"),
    [
        ({"query": "q", "reference": "r", "kind": "k"}, Question("q", {}, "r", "k")),
        ({"query": "q", "inputs": {"a": "x"}}, Question("q", {"a": "x"})),
        ({"question_id": 81, "category": "writing", "turns": ["q", "then"]}, Question("q")),
        ({"uid": "x", "turns": [{"content": "q"}]}, Question("q")),
        ({"uid": "x", "prompt": "q", "category": "hard"}, Question("q")),
        ({"question": "q", "answer": "2 + 2 = 4\n#### 4"}, Question("q", reference="4")),
        ({"question": "q", "answer": "yes"}, Question("q", reference="yes")),
        (
            {"instruction": "q", "input": "x", "output": "o"},
            Question("q\n\nx", reference="o"),
        ),
        ({"instruction": "q", "input": ""}, Question("q")),
    ],
)
def test_each_set_is_read(tmp_path: Path, entry: Any, question: Question) -> None:
    assert read_questions(written(tmp_path, entry)) == [question]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"text": "q"}, r'line 2: needs {"query": "..."}, or one of turns, prompt'),
        ([], "line 2: needs"),
        ({"query": "q", "refrence": "r"}, "line 2: unknown key 'refrence'"),
        ({"query": 5}, "line 2: query: must be a text"),
        ({"query": " "}, "line 2: query: the question is empty"),
        ({"query": "q", "inputs": {"a": 1}}, "line 2: inputs: a: must be a text"),
        ({"query": "q", "inputs": []}, "line 2: inputs: must be texts by agent"),
        ({"turns": []}, "line 2: turns: content: must be a text"),
        ({"question": "q", "answer": 4}, "line 2: answer: must be a text"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, entry: Any, said: str) -> None:
    with pytest.raises(WorkloadError, match=said.replace("{", r"\{").replace("...", r"\.\.\.")):
        read_questions(written(tmp_path, {"query": "fine"}, entry))


def test_no_question_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="holds no question"):
        read_questions(written(tmp_path))


def test_our_own_are_twenty_of_each_kind() -> None:
    questions = read_questions(EXAMPLES / "questions.jsonl")
    kinds = Counter(question.kind for question in questions)
    assert kinds == dict.fromkeys(("explain", "list", "plan", "compare", "rewrite", "sum"), 20)
    assert len({question.query for question in questions}) == 120
