"""Quality where several agents read: of all their texts, measured as it is forecast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel, load_model
from executor.inprocess.transformers_engine import TransformersEngine
from executor.line_log import ItemLog, LineLog
from executor.measure.measure_played import PlayedFigures, ScheduleProbe
from executor.measure.measure_quality import measure_quality
from executor.measure.measure_surfaces import measure_sample
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.scoring.prompt_scorer import PromptScorer
from executor.scoring.scoring import ModelScorer
from profiles.quality.forecast import QualityForecaster
from profiles.quality.profile import QualityProfile
from profiles.store import provenance_of_now
from staircase import Question, Schedule, constant, moa, uniform
from staircase.pipeline import Pipeline
from tests.support.backends import FORM
from tests.support.letter_model import save_letter_model

TOKENS = 12
QUESTIONS = [Question(text) for text in ("why?", "when?", "how so?")]
READERS = ("r", "s", "z")


@dataclass(frozen=True)
class Opened:
    pipeline: Pipeline
    runtime: Runtime
    scorers: dict[str, PromptScorer]

    def play(self, schedule: Schedule) -> list[Outcome]:
        return self.runtime.run([Job(self.pipeline, schedule, one) for one in QUESTIONS])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Two who read nobody, two who read them, and an answer from what these say."""
    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder)
    model: LoadedModel = load_model(str(folder), "cpu", "float32")
    every = moa([["p", "q"], ["r", "s"]], answer="z")
    pipeline = Pipeline(tuple(replace(agent, max_tokens=TOKENS) for agent in every), every.answer)
    with Device() as device:
        engine = TransformersEngine(model, device)
        runtime = Runtime(dict.fromkeys(pipeline.engines, ServedModel(engine, FORM)))
        engines = dict.fromkeys(pipeline.engines, engine)
        scorers = {name: PromptScorer(ModelScorer(model), engines) for name in READERS}
        yield Opened(pipeline, runtime, scorers)


def test_losses_add_up_and_agreements_multiply(opened: Opened) -> None:
    full = opened.play(Schedule())[0]
    less = opened.play(uniform(opened.pipeline, constant(2, 3, 4), "rebuild"))[0]
    each = [
        measure_quality(opened.pipeline, {name: opened.scorers[name]}, less, full, "rebuild")
        for name in READERS
    ]
    found = measure_quality(opened.pipeline, opened.scorers, less, full, "rebuild")
    assert sum(one.loss > 0.01 for one in each) >= 2
    assert found.loss == pytest.approx(sum(one.loss for one in each))
    assert found.agreement == pytest.approx(prod(one.agreement for one in each))
    same = measure_quality(opened.pipeline, opened.scorers, full, full, "append_rounds")
    assert same.loss == pytest.approx(0, abs=1e-6)
    assert same.agreement == 1


def test_forecasts_of_them_are_calibrated_too(opened: Opened, tmp_path: Path) -> None:
    full = opened.play(Schedule())
    levels = (0, 4, 8)
    samples = [
        measure_sample(opened.pipeline, opened.scorers, one, None, levels, 4) for one in full
    ]
    sources = {name: opened.pipeline[name].reads for name in READERS}
    profile = QualityProfile(levels, 4, sources, tuple(samples), provenance_of_now())
    probe = ScheduleProbe(
        opened.pipeline,
        opened.runtime,
        opened.scorers,
        lambda question, answer: None,
        QualityForecaster(profile),
        ["rebuild", "rebuild_query_first"],
    )
    kept = ItemLog(LineLog(tmp_path / "log.jsonl", ["key"]), "key", PlayedFigures)
    normal, *played = probe.measure(QUESTIONS, full, kept)
    assert np.mean(normal.loss) == pytest.approx(0, abs=1e-6)
    assert len(played) == 5
    assert all(np.mean(one.loss) > 0 and np.mean(one.forecast_loss) > 0 for one in played)
