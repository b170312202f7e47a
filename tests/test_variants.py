"""Variants of a scenario: merged as they say, planned each, compared where they can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from planner.api.variants import common_front, plans_of, variant_spaces
from planner.cli.app import app
from planner.figures.objectives import Goals, parse_objectives
from planner.workspace import Workspace
from staircase.errors import PlanError, ScenarioError
from staircase.spec.scenario import load_scenario, load_variants

ROOT = Path(__file__).parents[1]
PLACEMENT = ROOT / "examples" / "placement.yaml"


@pytest.fixture
def content() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PLACEMENT.read_text())
    small = {"first": [8], "chunk": [64], "write": [4], "trials": 12, "held_out": {"requests": 0}}
    found["plan"] |= small
    found["workload"] |= {"requests": 4}
    return found


def written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def spaces_of(folder: Path, content: dict[str, Any]) -> dict[str, Workspace]:
    path = written(folder, content)
    return variant_spaces(path, Workspace.open(path, folder / "out"))


def test_each_is_the_scenario_but_for_what_it_says() -> None:
    base, variants = load_scenario(PLACEMENT), load_variants(PLACEMENT)
    assert variants["a GPU each"] == base.model_copy(update={"variants": {}})
    two = variants["two aggregators"]
    assert {name: one for name, one in two.engines.items() if one != base.engines[name]} == {
        "aggregator": base.engines["aggregator"].model_copy(update={"replicas": 2})
    }
    shared = variants["layers share"]
    assert list(shared.engines) == list(shared.plan.prices) == ["a1", "a2", "aggregator"]
    assert {a.name: a.engine for a in shared.pipeline.build()} == {
        "a1": "a1",
        "a2": "a2",
        "b1": "a1",
        "b2": "a2",
        "aggregator": "aggregator",
    }
    assert shared.workload == base.workload


@pytest.mark.slow
def test_what_shares_an_engine_waits_for_it_and_pays_less(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    content["workload"] |= {"rate_per_s": 20.0}
    plans = plans_of(spaces_of(tmp_path, content)).plans
    apart, shared = (
        plans[name].candidates[plans[name].normal].forecast
        for name in ("a GPU each", "layers share")
    )
    assert shared["e2e_s"].mean > apart["e2e_s"].mean
    assert shared["cost"].mean < apart["cost"].mean
    for name, plan in plans.items():
        assert (tmp_path / "out" / "variants" / name / "plan.json").is_file()
        assert plan.objectives == ("smooth_start", "unread", "cost")


@pytest.mark.slow
def test_nobody_beats_a_member_of_the_common_front(tmp_path: Path, content: dict[str, Any]) -> None:
    plans = plans_of(spaces_of(tmp_path, content)).plans
    goals = Goals(parse_objectives(["smooth_start", "unread", "cost"]))
    every = [goals.costs(one.forecast) for p in plans.values() for one in p.front_candidates]
    front = [goals.costs(member.candidate.forecast) for member in common_front(plans)]
    for point in front:
        assert not any(
            other != point and all(x <= y for x, y in zip(other, point, strict=True))
            for other in every
        )
    assert len(front) > 1


def test_on_the_command_line(tmp_path: Path, content: dict[str, Any]) -> None:
    words = ["variants", str(written(tmp_path, content)), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--trials", "6", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["variants"]) == ["a GPU each", "two aggregators", "layers share"]
    assert {member["variant"] for member in found["front"]} <= set(found["variants"])


@pytest.mark.slow
def test_the_common_front_is_shown(tmp_path: Path, content: dict[str, Any]) -> None:
    words = ["variants", str(written(tmp_path, content)), "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, [*words, "--trials", "6"])
    assert "on the common front" in shown.output


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engines": {"a1": {"replica": 2}}}, "variants.odd: engines.a1"),
        ({"engines": {"a1": None}}, "variants.odd: engines: agent 'a1' runs on 'a1'"),
        ({"variants": {"more": {}}}, "variants.odd: variants: a variant has none of its own"),
        ({"workload": None}, "variants.odd: workload: simulated engines need one"),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, content: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, {**content, "variants": {"odd": changes}})
    with pytest.raises(ScenarioError) as told:
        load_variants(path)
    assert str(told.value).startswith(f"{path}: {said}")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["", "../up", ".", ".."])
def test_names_are_those_of_folders(tmp_path: Path, content: dict[str, Any], name: str) -> None:
    path = written(tmp_path, {**content, "variants": {name: {}}})
    with pytest.raises(ScenarioError, match=r"variants.*must be a word that can name a folder"):
        load_scenario(path)


def test_a_scenario_without_any_is_told() -> None:
    with pytest.raises(ScenarioError, match=r"debate.yaml: has no variants; give some"):
        load_variants(ROOT / "examples" / "debate.yaml")


def test_what_cannot_be_compared_is_not(tmp_path: Path, content: dict[str, Any]) -> None:
    fewer = {
        "pipeline": {"moa": {"layers": [["a1", "a2"]]}},
        "workload": {"output_tokens": {"b1": None, "b2": None}},
    }
    content["variants"] = {"all": {}, "fewer": fewer}
    with pytest.raises(PlanError, match=r"variants.fewer: its agents are not those of 'all'"):
        plans_of(spaces_of(tmp_path, content))
    content["plan"]["objectives"] = ["ttft", "cost"]
    assert set(plans_of(spaces_of(tmp_path, content)).plans) == {"all", "fewer"}
    content["variants"] = {"all": {}, "other": {"plan": {"objectives": ["e2e", "unread"]}}}
    with pytest.raises(PlanError, match=r"variants.other: its objectives are e2e, unread"):
        plans_of(spaces_of(tmp_path, content))
