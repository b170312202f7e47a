"""Quality is of the reader's distributions: drafts are text, whatever tokens they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel, load_model
from executor.inprocess.transformers_engine import TransformersEngine
from executor.measure.measure_quality import measure_quality
from executor.measure.measure_surfaces import measure_sample
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.scoring.prompt_scorer import PromptScorer
from executor.scoring.scoring import ModelScorer
from staircase import Question, Schedule, constant, moa, uniform
from staircase.pipeline import Pipeline
from staircase.schedule import LAYOUTS
from tests.support.backends import FORM
from tests.support.letter_model import LETTERS, save_letter_model


@dataclass(frozen=True)
class PairTokens:
    """Two letters a token."""

    vocabulary = "pairs"
    special_ids = frozenset[int]()

    def encode(self, text: str) -> list[int]:
        numbers = [LETTERS.index(letter) for letter in text]
        return [
            one * len(LETTERS) + other
            for one, other in zip(numbers[::2], numbers[1::2], strict=True)
        ]

    def encode_content(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        size = len(LETTERS)
        return "".join(LETTERS[one // size] + LETTERS[one % size] for one in ids)

    def spell(self, ids: Sequence[int]) -> str:
        return self.decode(ids)


def model_of(folder: Path, letters: str = LETTERS) -> LoadedModel:
    save_letter_model(folder, letters=letters)
    return load_model(str(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return model_of(tmp_path_factory.mktemp("letters"))


def pipeline(tokens: int) -> Pipeline:
    every = moa([["p", "q"]], answer="z")
    agents = tuple(
        replace(agent, max_tokens=tokens, engine="z" if agent.reads else "p") for agent in every
    )
    return Pipeline(agents, every.answer)


def played(
    proposing: LoadedModel, reading: LoadedModel, pipeline: Pipeline
) -> tuple[PromptScorer, list[Outcome]]:
    """In full, and along a staircase in each layout."""
    with Device() as device:
        engines = {
            "p": TransformersEngine(proposing, device),
            "z": TransformersEngine(reading, device),
        }
        runtime = Runtime({name: ServedModel(one, FORM) for name, one in engines.items()})
        some = [uniform(pipeline, constant(4, 4, 4), layout) for layout in LAYOUTS]
        jobs = [Job(pipeline, one, Question("why?")) for one in (Schedule(), *some)]
        outcomes = runtime.run(jobs)
    by_agent = {agent.name: engines[agent.engine] for agent in pipeline}
    return PromptScorer(ModelScorer(reading), by_agent), outcomes


def test_other_numbers_for_the_same_tokens_change_nothing(
    model: LoadedModel, tmp_path: Path
) -> None:
    """The proposers' model is the reader's with its letters numbered backwards."""
    backwards, some = model_of(tmp_path, LETTERS[::-1]), pipeline(tokens=12)
    assert backwards.vocabulary != model.vocabulary
    found: list[Any] = []
    for proposing in (model, backwards):
        asked, (full, *less) = played(proposing, model, some)
        sample = measure_sample(some, {"z": asked}, full, None, [0, 4, 8], 4)
        pairs = zip(less, LAYOUTS, strict=True)
        figures = [measure_quality(some, {"z": asked}, one, full, layout) for one, layout in pairs]
        found.append(([one.texts for one in (full, *less)], sample.surfaces, figures))
    assert found[0] == found[1]
    assert all(one.loss > 0 for one in found[0][2])


def test_read_levels_count_the_tokens_of_who_wrote(model: LoadedModel) -> None:
    """Half as many tokens of twice the length are as much to read."""
    some = pipeline(tokens=12)
    asked, (full, *_) = played(model, model, some)
    pairs = PairTokens()
    recoded = {name: pairs.encode(full.texts[name]) for name in ("p", "q")}
    other = PromptScorer(asked.scorer, {"p": pairs, "q": pairs, "z": asked.engines["z"]})
    as_pairs = replace(full, ids={**full.ids, **recoded})
    of_letters = measure_sample(some, {"z": asked}, full, None, [0, 4, 8], 4)
    of_pairs = measure_sample(some, {"z": other}, as_pairs, None, [0, 2, 4], 4)
    assert (of_letters.output_tokens["p"], of_pairs.output_tokens["p"]) == (12, 6)
    # The staircases that probe interleaving are in tokens too.
    for layout in ("rebuild", "rebuild_query_first", "append_rounds"):
        assert of_pairs.surfaces["z"][layout] == of_letters.surfaces["z"][layout]
