"""Results as data frames, tables and charts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import planner
from planner.evaluation import compare as comparing
from planner.results.plans import Plan
from planner.results.shown import Shown, html_table
from planner.results.validation import Validation
from staircase.errors import PlanError
from tests.support.command_line import staircase
from tests.support.plans import EXAMPLES, small_plan, validation_of
from tests.support.report_charts import data_of

PAPER = EXAMPLES / "paper_moa.yaml"


@pytest.fixture(scope="module")
def found() -> Plan:
    return small_plan(trials=12)


@pytest.fixture(scope="module")
def checked(found: Plan) -> Validation:
    return validation_of(found)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> comparing.RecordComparison:
    folder = tmp_path_factory.mktemp("records")
    for name, steps in (("one", "normal"), ("other", "constant:8,128,60")):
        words = ["--requests", "3", "--staircase", steps, "--save", str(folder / name)]
        assert staircase("simulate", str(PAPER), *words).returncode == 0
    return planner.compare(folder / "one", folder / "other")


def test_a_plan_has_a_row_for_each_candidate(found: Plan) -> None:
    frame = found.to_frame()
    assert list(frame.ttft_s) == [one.ttft_s for one in found.candidates]
    assert list(frame["e2e_s.p90"]) == [one.forecast["e2e_s"].p90 for one in found.candidates]
    assert sorted(frame[frame.on_front].candidate) == sorted(found.front)
    assert set(frame.name) >= {"normal", "paper default", "chosen"} - {""}


def test_a_validation_has_two_rows_for_each_schedule(checked: Validation) -> None:
    frame = checked.to_frame()
    assert list(frame.schedule) == [row.name for row in checked.rows for _ in range(2)]
    measured = frame[frame.kind == "measured"]
    assert list(measured.ttft_s) == [row.measured["ttft_s"].mean for row in checked.rows]


def test_a_simulation_has_a_row_for_each_metric() -> None:
    found = planner.simulate(PAPER, requests=3)
    frame = found.to_frame().set_index("metric")
    assert frame.loc["ttft_s", "p90"] == found.metrics["ttft_s"].p90
    assert set(frame.index) == set(found.metrics)


def test_a_comparison_has_a_row_for_each_metric(compared: comparing.RecordComparison) -> None:
    frame = compared.to_frame().set_index("metric")
    assert frame.loc["ttft_s", "bias"] == compared.metrics["ttft_s"].bias
    assert frame.loc["e2e_s", "measured.mean"] == compared.metrics["e2e_s"].measured.mean


def rows_shown(result: Any) -> list[dict[str, Any]]:
    """Of all charts of its figure, which is checked against Vega-Lite's schema on the way."""
    return [row for data in data_of(inlined(result.figure().to_dict())) for row in data["values"]]


def inlined(spec: Any) -> Any:
    """With the datasets that the library puts aside where they are used."""
    datasets = spec.pop("datasets", {})

    def walk(part: Any) -> Any:
        if isinstance(part, dict):
            if "data" in part and "name" in part["data"] and part["data"]["name"] in datasets:
                part = {**part, "data": {"values": datasets[part["data"]["name"]]}}
            return {key: walk(value) for key, value in part.items()}
        return [walk(one) for one in part] if isinstance(part, list) else part

    return walk(spec)


def test_each_has_a_figure(
    found: Plan, checked: Validation, compared: comparing.RecordComparison
) -> None:
    dots = [row for row in rows_shown(found) if row["at"].startswith("plan/candidates/")]
    assert {row["number"] for row in dots} == set(range(len(found.candidates)))
    assert {row["name"] for row in rows_shown(checked)} == {row.name for row in checked.rows}
    assert {row["name"] for row in rows_shown(compared)} >= {"TTFT", "E2E"}
    simulated = planner.simulate(PAPER, "constant:8,128,60", requests=3)
    agents = {row["agent"] for row in rows_shown(simulated)}
    assert agents == {*simulated.timelines[0].written, "answer"}


def test_each_is_a_table_in_a_notebook(
    found: Plan, checked: Validation, compared: comparing.RecordComparison
) -> None:
    results: list[Shown] = [found, checked, compared, planner.simulate(PAPER, requests=3)]
    for one in results:
        html = one._repr_html_()
        assert html.count("<tr>") == 1 + len(one.shown_rows()) >= 4
        assert "first token ms" in html or "TTFT ms" in html


def test_words_in_a_table_are_no_markup() -> None:
    html = html_table([{"a": "<b>"}, {"c&d": 1}])
    assert "<b>" not in html
    assert "c&amp;d" in html
    assert html.count("<td>") == 4


def test_a_plan_without_explanation_has_no_figure(found: Plan) -> None:
    with pytest.raises(PlanError, match="make one with 'staircase plan'"):
        replace(found, explanation=None).figure()


def test_files_may_be_named_as_texts(tmp_path: Path) -> None:
    found = planner.plan(str(PAPER), trials=8, out=tmp_path, write=True)
    assert planner.load_plan(str(tmp_path / "plan.json")) == found
    assert planner.load_scenario(str(PAPER)).name == found.scenario
