"""Quality is measured beside whole drafts, also where a schedule left them unfinished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from executor.measure.forced_reading import ForcedReading
from executor.measure.measure_quality import measure_quality
from executor.measure.whole_drafts import has_cut_drafts, with_whole_drafts
from executor.opened_engines import OpenedEngines, open_engines, read_dataset
from executor.runtime import Job, Outcome
from staircase import uniform
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule, explicit
from staircase.spec.scenario import load_scenario

DEMO = Path(__file__).parent / "support" / "desk.yaml"
READ = 8


@pytest.fixture(scope="module")
def opened() -> Iterator[OpenedEngines]:
    with open_engines(load_scenario(DEMO)) as opened:
        yield opened


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_scenario(DEMO).pipeline.build()


@pytest.fixture(scope="module")
def runs(opened: OpenedEngines, pipeline: Pipeline) -> list[Outcome]:
    """The same question after reading everything, and after a few words."""
    question = read_dataset(load_scenario(DEMO), DEMO.parent, 1, 0)[0]
    less = uniform(pipeline, explicit([(READ, None)]), "rebuild")
    return opened.runtime.run([Job(pipeline, one, question) for one in (Schedule(), less)])


def test_drafts_that_nobody_reads_on_are_continued(runs: list[Outcome], pipeline: Pipeline) -> None:
    full, less = runs
    assert has_cut_drafts(pipeline, less)
    assert not has_cut_drafts(pipeline, full)
    whole = with_whole_drafts(pipeline, less, full)
    names = pipeline["editor"].reads
    assert any(len(less.ids[name]) < len(full.ids[name]) for name in names)
    assert all(whole.ids[name] == full.ids[name] for name in names)
    assert whole.ids["editor"] == less.ids["editor"] != full.ids["editor"]
    assert with_whole_drafts(pipeline, full, full) == full


def test_what_went_another_way_stays(runs: list[Outcome], pipeline: Pipeline) -> None:
    full, less = runs
    first, *others = pipeline["editor"].reads
    other = replace(full, ids={**full.ids, first: [0, *full.ids[first]]})
    whole = with_whole_drafts(pipeline, less, other)
    assert whole.ids[first] == less.ids[first]
    assert all(whole.ids[name] == full.ids[name] for name in others)


def test_the_loss_is_that_of_the_played_text_beside_whole_drafts(
    opened: OpenedEngines, runs: list[Outcome], pipeline: Pipeline
) -> None:
    """As teacher forcing on that text says. Beside drafts that were cut at once there is none."""
    full, less = runs
    agent, scorer = pipeline["editor"], opened.scorers_of(pipeline)["editor"]
    forced = ForcedReading(agent, scorer, {**full.ids, agent.name: less.ids[agent.name]})
    prompts = [forced.prompt("rebuild", forced.flat(level)) for level in (None, READ)]
    expected = float(np.mean(forced.compare(prompts[0], prompts[1:])[0].loss))
    cut = replace(less, ids={**less.ids, **{name: full.ids[name][:READ] for name in agent.reads}})
    scorers = {"editor": scorer}
    assert measure_quality(pipeline, scorers, cut, cut, "rebuild").loss == pytest.approx(
        0, abs=1e-6
    )
    measured = measure_quality(pipeline, scorers, cut, full, "rebuild").loss
    assert measured == pytest.approx(expected, 1e-4)
    assert expected > 0.05
