"""The report and the explanation: self-contained, and every number from the plan's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.explain_text import COLUMNS, LINES, explanation_lines
from planner.figures import Figures, place_of
from planner.plans import Plan, load_plan, save_plan
from planner.report import write_report
from planner.validation import Validation, load_validation, save_validation
from staircase.errors import PlanError
from tests.support.plans import small_plan, validation_of
from tests.support.report_numbers import Texts, check_numbers

MOST_BYTES = 3 << 20


def content(path: Path) -> object:
    return json.loads(path.read_text())["content"]


@pytest.fixture(scope="module")
def found() -> Plan:
    return small_plan()


@pytest.fixture(scope="module", params=["one objective", "deep", "percentiles"])
def other(request: pytest.FixtureRequest) -> Plan:
    if request.param == "deep":
        return small_plan("debate", 12, objectives=["e2e", "unread", "stall"])
    words = ["stall"] if request.param == "one objective" else ["e2e.p90", "prefill"]
    return small_plan(objectives=words)


def pages(folder: Path, plan: Plan) -> Iterator[tuple[str, dict[str, object]]]:
    """The report of a plan, then that of its validation, and the files beside it."""
    save_plan(folder / "plan.json", plan)
    save_validation(folder / "validation.json", validation_of(plan))
    documents = {kind: content(folder / f"{kind}.json") for kind in ("plan", "validation")}
    for validation in (None, load_validation(folder / "validation.json")):
        write_report(folder / "report.html", load_plan(folder / "plan.json"), validation)
        yield (folder / "report.html").read_text(), documents


def test_every_number_stands_in_the_json(found: Plan, tmp_path: Path) -> None:
    counts = [check_numbers(page, documents) for page, documents in pages(tmp_path, found)]
    assert counts[0] > 100
    assert counts[1] > counts[0]


@pytest.mark.slow
def test_so_it_does_whatever_the_objectives(other: Plan, tmp_path: Path) -> None:
    for page, documents in pages(tmp_path, other):
        assert check_numbers(page, documents) > 100


def test_a_number_from_elsewhere_is_found_out(found: Plan, tmp_path: Path) -> None:
    page, documents = next(pages(tmp_path, found))
    with pytest.raises(AssertionError):
        check_numbers(page.replace("<h2>Pareto front", "<h2>17 Pareto fronts"), documents)
    changed = re.sub(r">(\d+) schedules simulated<", ">99 schedules simulated<", page)
    with pytest.raises(AssertionError):
        check_numbers(changed, documents)


def test_it_is_self_contained(found: Plan, tmp_path: Path) -> None:
    for page, _ in pages(tmp_path, found):
        assert len(page.encode()) < MOST_BYTES
        assert not re.search(r"https?:|//[a-z]|@import|url\(", page.replace("  // What a mark", ""))
        parser = Texts()
        parser.feed(page)
        loaded = [value for name, value in parser.attributes if name in ("src", "href", "srcset")]
        assert loaded == ["data:,"]


def test_names_are_text_not_markup(found: Plan, tmp_path: Path) -> None:
    from dataclasses import replace

    odd = replace(found, scenario="<b>a</b> & co")
    write_report(tmp_path / "r.html", odd)
    assert "<b>a</b> &" not in (tmp_path / "r.html").read_text()


def test_a_plan_without_explanation_has_no_report(found: Plan, tmp_path: Path) -> None:
    from dataclasses import replace

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
