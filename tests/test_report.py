"""The report and the explanation: self-contained, and every number from the plan's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from planner.charts.embedding import library
from planner.figures.axis import Axis
from planner.figures.describing import describe_schedule
from planner.figures.json_pointers import Figures, place_of
from planner.figures.objectives import parse_objective
from planner.report.explain_text import COLUMNS, LINES, explanation_lines
from planner.report.report import write_report
from planner.results.measured_limits import MeasuredLimit
from planner.results.plans import Plan, load_plan, save_plan
from planner.results.validation import Validation, load_validation, save_validation
from staircase.errors import PlanError
from tests.support.plans import paper_plan, small_plan, validation_of
from tests.support.report_charts import check_charts, loaded, specs
from tests.support.report_numbers import check_numbers

MOST_BYTES = 3 << 20


def content(path: Path) -> object:
    return json.loads(path.read_text())["content"]


@pytest.fixture(scope="module")
def found() -> Plan:
    return paper_plan()


@pytest.fixture(scope="module", params=["one objective", "deep", "percentiles"])
def other(request: pytest.FixtureRequest) -> Plan:
    if request.param == "deep":
        return small_plan("debate", 12, objectives=["e2e", "unread", "stall"])
    words = ["stall"] if request.param == "one objective" else ["e2e.p90", "prefill"]
    return small_plan(objectives=words)


# Of a page, and what stands in the files beside it.
Pages = list[tuple[str, dict[str, Any]]]


def written(folder: Path, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """The report of a plan, then that of its validation, and the files beside it."""
    save_plan(folder / "plan.json", plan)
    save_validation(folder / "validation.json", validation_of(plan))
    documents = {kind: content(folder / f"{kind}.json") for kind in ("plan", "validation")}
    for validation in (None, load_validation(folder / "validation.json")):
        write_report(folder / "report.html", load_plan(folder / "plan.json"), validation)
        yield (folder / "report.html").read_text(), documents


@pytest.fixture(scope="module")
def pages(found: Plan, tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return list(written(tmp_path_factory.mktemp("report"), found))


def test_every_number_stands_in_the_json(pages: Pages) -> None:
    counts = [check_numbers(page, documents) for page, documents in pages]
    assert counts[0] > 100
    assert counts[1] > counts[0]


def test_every_value_of_a_chart_stands_in_the_json(pages: Pages) -> None:
    counts = [check_charts(page, documents) for page, documents in pages]
    assert counts[0] > 200
    assert counts[1] > counts[0]


def test_charts_are_those_of_vega_lite(pages: Pages) -> None:
    found = specs(pages[-1][0])
    for spec in found.values():
        alt.Chart.from_dict(spec)
    with pytest.raises(Exception, match="'wide' is not"):
        alt.Chart.from_dict({**found["front"], "width": "wide"})


def test_a_value_from_elsewhere_is_found_out(pages: Pages) -> None:
    page, documents = pages[0]
    value = specs(page)["front"]["layer"][1]["data"]["values"][3]["x"]
    with pytest.raises(AssertionError):
        check_charts(page.replace(f'"x":{value}', f'"x":{value + 1}'), documents)
    with pytest.raises(AssertionError):
        check_charts(page.replace('"kind":"simulated"', '"kind":"17 simulated"'), documents)


@pytest.mark.slow
def test_so_it_does_whatever_the_objectives(other: Plan, tmp_path: Path) -> None:
    for page, documents in written(tmp_path, other):
        assert check_numbers(page, documents) > 100
        assert check_charts(page, documents) > 200


def test_a_number_from_elsewhere_is_found_out(pages: Pages) -> None:
    page, documents = pages[0]
    with pytest.raises(AssertionError):
        check_numbers(page.replace("<h2>Pareto front", "<h2>17 Pareto fronts"), documents)
    changed = re.sub(r">(\d+) schedules simulated<", ">99 schedules simulated<", page)
    with pytest.raises(AssertionError):
        check_numbers(changed, documents)


def cards(page: str) -> list[str]:
    """Their text."""
    found = re.findall(r'<div class="card">(.*?)</div>', page, re.DOTALL)
    return [" ".join(re.sub("<[^>]*>", " ", one).split()) for one in found]


@pytest.fixture(scope="module")
def statistics() -> Plan:
    """Of objectives that are not all means."""
    return small_plan(objectives=["smooth_start.p90", "longest_gap.p90", "ttft", "ttft.p90"])


@pytest.fixture(scope="module")
def late(statistics: Plan, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its page, where readers start later than on full drafts."""
    path = tmp_path_factory.mktemp("late") / "r.html"
    checked = validation_of(statistics)
    write_report(path, statistics, replace(checked, reading=replace(checked.reading, saved=-0.25)))
    return path.read_text()


def test_a_card_tells_the_sign_in_words_and_the_statistic(late: str) -> None:
    told = cards(late)
    assert any(one.endswith("% earlier smooth_start.p90 than normal, forecast") for one in told)
    assert "25.0 % later smooth start than normal, measured" in told


def test_a_report_says_what_was_not_measured(found: Plan, tmp_path: Path) -> None:
    checked = validation_of(found)
    unknown = MeasuredLimit("chosen", "score ≥ 0.5", None, None)
    assert found.explanation
    limits = (replace(found.explanation.limits[0], value=None),)
    odd = replace(found, explanation=replace(found.explanation, limits=limits))
    write_report(tmp_path / "r.html", odd, replace(checked, limits=(unknown,)))
    page = re.sub("<[^>]*>", "", (tmp_path / "r.html").read_text())
    assert "score ≥ 0.5: chosen not measured" in page
    assert "unread ≤ 0.25: not known of the choice" in page


def test_two_statistics_of_a_metric_make_one_picture(late: str) -> None:
    assert late.count("<h3>TTFT, ms</h3>") == 1


@pytest.mark.parametrize(("word", "unit"), [("goodput", ""), ("e2e.p90", " ms"), ("cost", "")])
def test_only_times_are_in_milliseconds(word: str, unit: str) -> None:
    axis = Axis(parse_objective(word))
    assert (axis.unit, axis.factor) == (unit, 1000 if unit else 1)


def test_it_is_self_contained(pages: Pages) -> None:
    for page, _ in pages:
        assert len(page.encode()) < MOST_BYTES
        # What is in the library is not asked for (``test_report_in_browser``).
        assert page.count(library()) == 1
        assert not re.search(r"https?:|@import|url\(", page.replace(library(), ""))
        assert loaded(page) == ["data:,"]


def test_names_are_text_not_markup(found: Plan, tmp_path: Path) -> None:
    odd = replace(found, scenario="<b>a</b> & co")
    write_report(tmp_path / "r.html", odd)
    assert "<b>a</b> &" not in (tmp_path / "r.html").read_text()


def test_a_plan_without_explanation_has_no_report(found: Plan, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="make one with 'staircase plan'"):
        write_report(tmp_path / "r.html", replace(found, explanation=None))
    assert not (tmp_path / "r.html").exists()


def test_places_of_any_key() -> None:
    key = "a/b c*2#"
    figures = Figures({"x": {key: [1.5, {"y": "word"}]}})
    assert figures.text(place_of("x", key, 0, factor=1000)) == "1500"
    assert figures.text(place_of("x", key, 1, "y")) == "word"
    assert figures.text(place_of("x", key, "#")) == "2"
    assert " " not in place_of("x", key)
    assert figures.text("nowhere/at/all") == "–"


def explained(plan: Plan, validation: Validation | None = None) -> list[str]:
    assert plan.explanation is not None
    return explanation_lines(plan, plan.explanation, validation)


def test_an_explanation_fits_a_screen(found: Plan) -> None:
    for lines in (explained(found), explained(found, validation_of(found))):
        assert len(lines) <= LINES
        assert all(len(line) <= COLUMNS for line in lines)
        text = "\n".join(lines)
        for words in ("where TTFT goes", "proposers", "what decides", "first", "limit unread"):
            assert words in text


def test_nothing_of_it_is_cut(found: Plan) -> None:
    """However long names are: what does not fit goes on in the next line."""
    assert found.explanation is not None
    names = ("longest_gap.p90", "a-proposer-whose-name-is-as-long-as-half-a-line")
    far = [f"{'+'.join(names)}-{number}" for number in range(4)]
    near = tuple(replace(found.explanation.neighbours[0], value=value) for value in far)
    shares = dict.fromkeys(names, found.explanation.importances["smooth_start"])
    odd = replace(found.explanation, neighbours=near, importances=shares)
    limits = (replace(odd.limits[0], words=" and ".join(far)),)
    lines = explanation_lines(found, replace(odd, limits=limits), validation_of(found))
    assert len(lines) <= LINES
    assert all(len(line) <= COLUMNS for line in lines)
    told = " ".join(" ".join(lines).split())
    # In words a schedule of many steps names the first ones.
    assert "…" not in told.replace(describe_schedule(found.named()["chosen"].schedule), "")
    for words in (*far, *(f"{name} first" for name in names), "limit unread ≤ 0.25, as measured"):
        assert words in told


def test_where_not_all_fits_there_are_fewer_neighbours(found: Plan) -> None:
    assert found.explanation is not None
    near = tuple(one for one in found.explanation.neighbours for _ in range(20))
    many = replace(found.explanation, neighbours=near)
    whole, lines = (
        explanation_lines(found, one, validation_of(found)) for one in (found.explanation, many)
    )
    assert len(lines) == LINES
    assert lines[-1] == "more in the report"
    assert [line for line in whole if line.startswith(("limit", "meas"))] == [
        line for line in lines if line.startswith(("limit", "meas"))
    ]


def test_columns_of_its_figures_do_not_run_together(statistics: Plan) -> None:
    lines = explained(statistics)
    (head,) = (line for line in lines if line.startswith("forecast "))
    (row,) = (line for line in lines if line.startswith("longest_gap.p90 ms "))
    heads = ["forecast", "choice", "normal", "choice has", "paper default", "choice has"]
    assert re.split("  +", head) == heads
    assert len(re.split("  +", row)) == len(heads)


@pytest.mark.slow
def test_so_do_others(other: Plan) -> None:
    lines = explained(other, validation_of(other))
    assert len(lines) <= LINES
    assert all(len(line) <= COLUMNS for line in lines)
    assert any(line.startswith("measured over") for line in lines)


def test_its_staircase_rises_to_all_that_was_read(found: Plan) -> None:
    rows = [line.partition("│")[2] for line in explained(found) if "│" in line]
    assert rows[0].endswith("█")
    filled = [sum(c != " " for c in row) for row in rows]
    assert filled == sorted(filled)
