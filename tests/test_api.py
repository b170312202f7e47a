"""Planning from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import planner
from planner.results.plans import Plan, load_plan
from staircase.errors import InputError, PlanError, ScenarioError
from staircase.spec.scenario import load_scenario
from tests.support.plans import EXAMPLES, paper_plan, small_plan

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found() -> Plan:
    return paper_plan()


def test_plan_is_a_function_even_after_its_modules_are_imported() -> None:
    from planner import plan

    assert callable(plan)
    assert planner.plan is plan
    assert planner.Plan is Plan
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        planner.nothing  # noqa: B018


def test_importing_is_light() -> None:
    code = (
        "import planner, sys; print([m for m in ('optuna', 'torch', 'numpy') if m in sys.modules])"
        "; from planner import plan; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_the_same_from_a_file_and_a_scenario(found: Plan) -> None:
    assert planner.plan(load_scenario(EXAMPLES / "paper_moa.yaml"), trials=20) == found


def test_seed_objectives_and_slo_reach_the_search(found: Plan) -> None:
    other = small_plan(objectives=["e2e", "unread"], slo={"ttft": 2.0, "unread": 0.3}, seed=3)
    assert other.objectives == ("e2e", "unread")
    assert set(other.limits) == {"ttft.p90 ≤ 2", "unread ≤ 0.3"}
    assert other.named()["chosen"].forecast["ttft_s"].p90 <= 2.0
    assert other.named()["chosen"].forecast["unread"].mean <= 0.3
    assert other.candidates != found.candidates


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objectives": ["tftt"]}, "'tftt': must be one of ttft"),
        ({"slo": {"ttft.p95": 1.0}}, "'p95' must be one of"),
        ({"slo": {"ttft": 1e-6}}, "none of 20 schedules keeps the plan's limits"),
    ],
)
def test_what_there_is_not_is_told(options: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        small_plan(**options)  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="no such file"):
        planner.plan("nowhere.yaml")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": -5}, "^plan.trials: .*greater than or equal to 1"),
        ({"trials": 2.5}, "^plan.trials: .*valid integer"),
        ({"trials": True}, "^plan.trials: .*valid integer"),
        ({"seed": "one"}, "^plan.seed: .*valid integer"),
        ({"objectives": "ttft"}, r"^objectives 'ttft': must be a list, as \['ttft'\]"),
        ({"objectives": []}, "must be 1 to 4"),
        ({"objectives": [3]}, "^objective 3: must be a word"),
        ({"slo": "ttft"}, "^slo 'ttft': must be a mapping"),
        ({"slo": {"ttft": "fast"}}, "^slo 'ttft': 'fast' must be a finite number"),
        ({"slo": {"ttft": float("nan")}}, "^slo 'ttft': nan must be a finite number"),
        ({"slo": {5: 1.0}}, "^objective 5: must be a word"),
        ({"workers": 0}, "^workers: 0 must be a whole number, 1 or more"),
        ({"workers": "two"}, "^workers: 'two' must be"),
    ],
)
def test_arguments_are_checked_as_in_a_file(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        planner.plan(EXAMPLES / "paper_moa.yaml", **{"trials": 5, **options})
    assert "\n" not in str(caught.value)


def test_a_scenario_is_a_file_or_a_scenario() -> None:
    with pytest.raises(InputError, match=r"^scenario: 5 must be a scenario file or a Scenario"):
        planner.plan(5)  # type: ignore[arg-type]


def test_arguments_of_best_are_checked(found: Plan) -> None:
    wrong: list[Any] = ["ttft", {"ttft": "fast"}, {"ttft": float("inf")}, []]
    for slo in wrong:
        with pytest.raises(PlanError, match=r"^slo "):
            found.best(slo=slo)


def test_limits_in_the_plan_are_those_that_were_kept(found: Plan) -> None:
    """To the last digit: else the best is another than the choice."""
    exact = 10 * found.named()["chosen"].ttft_s / 3
    again = small_plan(slo={"ttft.mean": exact})
    assert exact in [limit.figure for limit in again.limits_of()]
    assert again.best() == again.named()["chosen"]


def test_best(found: Plan) -> None:
    chosen = found.named()["chosen"]
    assert found.best() == chosen
    earliest = found.best("smooth_start")
    assert 0 <= chosen.smooth_start_s - earliest.smooth_start_s <= 1 / found.reading_rate
    assert chosen.forecast["unread"].mean <= earliest.forecast["unread"].mean
    kept = [one for one in found.candidates if one.forecast["unread"].mean <= 0.25]
    assert found.best("unread").forecast["unread"] == min(
        (one.forecast["unread"] for one in kept), key=lambda summary: summary.mean
    )
    tight = found.best("ttft", slo={"unread": 0.05})
    allowed = [one.ttft_s for one in kept if one.forecast["unread"].mean <= 0.05]
    assert tight.ttft_s == min(allowed)
    with pytest.raises(PlanError, match="none of 20 schedules"):
        found.best("ttft", slo={"ttft": 1e-9})
    with pytest.raises(PlanError, match="'score' is not known here"):
        found.best("score")


def test_front_candidates_are_those_of_the_front(found: Plan) -> None:
    assert [found.candidates[number] for number in found.front] == list(found.front_candidates)


def test_nothing_is_written_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = small_plan(trials=8)
    assert list(tmp_path.iterdir()) == []
    again = small_plan(trials=8, write=True, out=tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"plan.json", "report.html", "trace.json"}
    assert load_plan(tmp_path / "out" / "plan.json") == again == plan
    assert json.loads((tmp_path / "out" / "trace.json").read_text())["traceEvents"]
