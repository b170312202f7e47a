"""How likely an answer is under a model that had no part in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from executor.inprocess.models import LoadedModel, load_model
from executor.runtime import Outcome
from executor.scoring.likelihood import OtherReader
from executor.tokens.token_ids import beginning_of
from staircase.pipeline import moa, single
from staircase.timeline import Timeline
from staircase.workload import Question
from tests.support.letter_model import save_letter_model

PIPELINE = moa([["p", "q"]], "z")
QUESTION = Question("why?", {"p": "only for p"})
TEXTS = {"p": "no idea ", "q": "as it is", "z": "\nso it is.\n"}
TEMPLATE = (
    "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}</{{ turn.role }}>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_letter_model(folder, seed=7)
    return folder


def reader(folder: Path) -> OtherReader:
    model = load_model(str(folder), "cpu", "float32")
    return OtherReader(str(folder), lambda: model)


def outcome(texts: Mapping[str, str]) -> Outcome:
    return Outcome(Timeline(0, 0, 1, (), (1,), {}), {}, texts, ())


def slow_mean(model: LoadedModel, prompt: str, answer: str, begin: list[int]) -> float:
    """Token by token, each from a pass of its own."""
    ids, found = begin + model.encode(prompt), []
    for token in model.encode(answer):
        with torch.inference_mode():
            logits = model.network(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        found.append(math.log(float(torch.softmax(logits.double(), dim=0)[token])))
        ids.append(token)
    return sum(found) / len(found)


PLAIN = "\n\nwhy?\n\n\n\np:\nno idea\n\nq:\nas it is\n\nAnswer:\n"


def test_it_is_the_mean_over_the_answer_s_tokens(folder: Path) -> None:
    asked = reader(folder)
    texts = [
        asked.text(PIPELINE, QUESTION, outcome(TEXTS | {"z": answer}))
        for answer in ("\nso it is.\n", "so it was", "no")
    ]
    expected = [
        slow_mean(asked.load(), PLAIN, answer, []) for answer in ("so it is.", "so it was", "no")
    ]
    assert asked.load().decode(texts[0].ids) == f"{PLAIN}so it is."
    assert list(asked.log_likelihoods(texts)) == pytest.approx(expected, abs=1e-4)
    assert len({round(value, 2) for value in expected}) == 3


def test_it_is_asked_in_its_own_template_with_its_own_beginning(tmp_path: Path) -> None:
    """A base model of which every text begins with a mark is lost without."""
    save_letter_model(tmp_path, seed=7)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    mark = tokenizer.encode("/", add_special_tokens=False)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="/ $A", special_tokens=[("/", mark[0])]
    )
    tokenizer.save_pretrained(tmp_path)
    asked = reader(tmp_path)
    assert beginning_of(asked.load().tokenizer) == "/"
    text = asked.text(PIPELINE, QUESTION, outcome(TEXTS))
    assert asked.load().decode(text.ids) == f"/{PLAIN}so it is."
    expected = slow_mean(asked.load(), PLAIN, "so it is.", mark)
    assert list(asked.log_likelihoods([text])) == pytest.approx([expected], abs=1e-4)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    asked = reader(tmp_path)
    said = asked.load().decode(asked.text(PIPELINE, QUESTION, outcome(TEXTS)).ids)
    assert said.startswith("<user>")
    assert said.endswith("</user><assistant>so it is.")
    assert all(piece in said for piece in ("why?", "no idea", "as it is"))
    assert "only for p" not in said


def test_agents_between_are_not_in_the_prompt(folder: Path) -> None:
    """What they write is the schedule's affair; the prompt is the same for all schedules."""
    between = moa([["p"], ["m"]], "z")
    text = reader(folder).text(between, QUESTION, outcome(TEXTS | {"m": "between"}))
    said = reader(folder).load().decode(text.ids)
    assert "no idea" in said
    assert "between" not in said


def test_empty_answers_have_none(folder: Path) -> None:
    asked = reader(folder)
    assert asked.why_not(asked.text(PIPELINE, QUESTION, outcome(TEXTS))) is None
    empty = asked.text(PIPELINE, QUESTION, outcome(TEXTS | {"z": " \n"}))
    assert asked.why_not(empty) == "they are empty"


def test_answers_beyond_the_model_s_length_have_none(tmp_path: Path) -> None:
    save_letter_model(tmp_path)
    model = load_model(str(tmp_path), "cpu", "float32")
    model.network.config.max_position_embeddings = len(PLAIN) + len("so it is.") - 1
    asked = OtherReader(str(tmp_path), lambda: model)
    why = asked.why_not(asked.text(PIPELINE, QUESTION, outcome(TEXTS)))
    assert why is not None
    assert "longer than the model's" in why


def test_one_agent_alone(folder: Path) -> None:
    text = reader(folder).text(single("z"), QUESTION, outcome(TEXTS))
    assert "no idea" not in reader(folder).load().decode(text.ids)
    assert len(text.positions) == len("so it is.")
