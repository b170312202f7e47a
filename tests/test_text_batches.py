"""Engines that write in batches where no clock counts."""

from __future__ import annotations

from typing import Any

import pytest

from planner.profiling.text_batches import AT_ONCE, in_batches, requests_at_once
from staircase.spec.engine_spec import EngineSpec
from staircase.spec.scenario import Scenario

HERE: dict[str, Any] = {"model": "embedded"}
SERVER: dict[str, Any] = {
    "kind": "openai", "base_url": "http://localhost:1/v1", "model": "m", "max_concurrency": 4,
}  # fmt: skip


def scenario(**editor: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "x",
            "pipeline": {"moa": {"layers": [["ann", "bo"]], "answer": "editor"}},
            "engines": {"ann": HERE, "bo": HERE, "editor": editor},
        }
    )


@pytest.mark.parametrize(
    ("editor", "slots", "at_once"),
    [
        (HERE, AT_ONCE, AT_ONCE),
        (HERE | {"slots": 15}, 15, AT_ONCE),
        # Rounding would differ with the batch.
        (HERE | {"dtype": "bfloat16"}, 1, 1),
        # An engine computes no fewer tokens at once than it has slots.
        (HERE | {"slots": 2, "max_num_batched_tokens": 3}, 3, 3),
    ],
)
def test_slots_of_an_engine_here(editor: dict[str, Any], slots: int, at_once: int) -> None:
    batched = in_batches(scenario(**editor))
    spec = batched.engines["editor"]
    assert isinstance(spec, EngineSpec)
    assert spec.slots == slots
    # It is what a file may say.
    EngineSpec.model_validate(spec.model_dump(exclude_unset=True))
    assert requests_at_once(batched) == at_once


def test_servers_stay_as_they_are() -> None:
    found = scenario(**SERVER)
    batched = in_batches(found)
    assert batched.engines["editor"] == found.engines["editor"]
    assert requests_at_once(batched) == 4


def test_readers_of_one_engine_share_its_places() -> None:
    content = {
        "name": "x",
        "pipeline": {"debate": {"debaters": ["ann", "bo", "cy"], "rounds": 2, "answer": "ann"}},
        "engines": {"one": HERE},
    }
    agents = {name: {"engine": "one"} for name in ("ann.1", "bo.1", "cy.1", "ann.2", "bo.2")}
    content["pipeline"]["agents"] = agents  # type: ignore[index]
    content["pipeline"]["debate"]["answer"] = "judge"  # type: ignore[index]
    agents |= {name: {"engine": "one"} for name in ("cy.2", "judge")}
    # Four texts are read into: three second statements and the judge's.
    assert requests_at_once(in_batches(Scenario.model_validate(content))) == AT_ONCE // 4


def test_a_pipeline_in_which_nobody_reads() -> None:
    content = {"name": "x", "pipeline": {"single": "ann"}, "engines": {"ann": HERE}}
    assert requests_at_once(in_batches(Scenario.model_validate(content))) == AT_ONCE
