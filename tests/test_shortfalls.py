"""Answers that were written without somebody say so: in records, tables and validations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from executor.opened_engines import open_engines
from planner.evaluation.compare import compare
from planner.evaluation.validate import validate
from planner.figures.json_pointers import Figures
from planner.report.report_words import shortfall_rows
from planner.results.plans import Candidate, Plan
from planner.results.validation import Validation, load_validation, save_validation
from planner.tables.compare_table import describe_pairs
from profiles.store import provenance_of_now
from staircase import Schedule, constant, uniform
from staircase.metrics.request_metrics import summarize
from staircase.metrics.shortfalls import Shortfall, count_shortfalls, shortfall_lines, shortfalls_of
from staircase.records import read_records, record, write_records
from staircase.schedule import Barrier
from staircase.timeline import Span, Timeline
from tests.support.command_line import staircase
from tests.support.fake_server import FakeServer, Fault, Manners
from tests.test_openai_engine import LENGTH, SCHEDULE, numbers, run
from tests.test_remote_scenarios import demo, write_demo

BAD = Fault("status", status=400)
ONCE = Fault("status", status=500)
# Requests by which a probe asks about one model of ``MANNERS``.
PROBE = 6
MANNERS = Manners(takes_ids=False, length=30)


def span(agent: str, written: int, reason: str, remark: str | None = None) -> Span:
    return Span(0, agent, agent, 0, (), 0, 0, 0, None, 1, 0, 5, 0, written, reason, remark)


def timeline(*spans: Span, error: str | None = None) -> Timeline:
    return Timeline(0, 0, 1, (*spans, span("z", 4, "stop")), (1,), {}, error)


class TestOfOneRequest:
    @pytest.mark.parametrize(
        ("spans", "found"),
        [
            ([span("a", 3, "stop")], []),
            ([span("a", 3, "length"), span("a", 0, "stop")], []),
            ([span("a", 3, "cancelled")], []),
            ([span("a", 0, "down"), span("a", 3, "stop")], []),
            ([span("a", 0, "down")], [Shortfall("a", "down", False)]),
            ([span("a", 3, "down")], [Shortfall("a", "down", True)]),
            ([span("a", 0, "stop")], [Shortfall("a", "wrote nothing", False)]),
            ([span("a", 0, "cancelled")], [Shortfall("a", "wrote nothing in time", False)]),
            ([span("a", 0, "stop", "refused")], [Shortfall("a", "refused", False)]),
            (
                [span("a", 2, "length", "called a tool"), span("a", 1, "stop", "called a tool")],
                [Shortfall("a", "called a tool", True)],
            ),
        ],
    )
    def test_what_is_missing(self, spans: list[Span], found: list[Shortfall]) -> None:
        assert shortfalls_of(timeline(*spans)) == found

    def test_of_several_the_most_frequent_reason_is_told(self) -> None:
        lines = [timeline(span("a", 0, why)) for why in ("down", "busy", "down")]
        failed = timeline(span("a", 0, "busy"), error="x")
        found = count_shortfalls([*lines, failed, failed, timeline(span("a", 2, "busy"))])
        assert shortfall_lines(found, 4) == [
            "3 of 4 answers lack a: down",
            "1 of 4 answers lack part of a: busy",
        ]


class TestPlayed:
    def test_a_proposer_that_fails_is_in_the_record(self, tmp_path: Path) -> None:
        outcome = run({"a": [(0, BAD)], "b": [(0, Fault("stops", 0))]}, retries=0)
        found = record(outcome.timeline)
        assert found.error is None
        assert found.missing["a"].endswith("HTTP 400: as scripted")
        assert found.missing["b"] == "wrote nothing"
        write_records(tmp_path / "r.jsonl", [outcome.timeline])
        (again,) = read_records(tmp_path / "r.jsonl")
        assert again.missing == found.missing
        words = describe_pairs(compare([replace(again, missing={})], [again]))
        assert words.endswith(
            "; 1 measured answers lack a or part of it; 1 measured answers lack b or part of it"
        )

    def test_what_it_wrote_before_is_a_part(self) -> None:
        outcome = run({"a": [(0, Fault("breaks", 3))]}, retries=0)
        assert record(outcome.timeline).missing["a"].startswith("in part: http://127.0.0.1")

    def test_nothing_is_missing_otherwise(self) -> None:
        assert record(run({"a": [(0, BAD)]}, retries=1).timeline).missing == {}

    def test_whom_nobody_waits_for(self) -> None:
        schedule = replace(SCHEDULE, barrier=Barrier("quorum", 1))
        outcome = run({"a": [(0, Fault("hang"))]}, retries=0, schedule=schedule, hang_s=20.0)
        assert record(outcome.timeline).missing == {"a": "wrote nothing in time"}


class TestRetries:
    def test_count_by_call(self) -> None:
        """Every call of the answer fails once."""
        faults = [(number, ONCE) for number in range(0, 40, 2)]
        outcome = run({"z": faults}, retries=1, tries=1)
        assert outcome.timeline.error is None
        assert outcome.texts["z"] == numbers(1, LENGTH)
        assert len([one for one in outcome.timeline.spans if "HTTP 500" in one.reason]) == 4

    def test_end(self) -> None:
        outcome = run({"z": [(2, ONCE), (3, ONCE)]}, retries=1, tries=1)
        assert "HTTP 500" in (outcome.timeline.error or "")

    @pytest.mark.parametrize("retries", [0, 1])
    def test_are_said_by_a_scenario(self, tmp_path: Path, retries: int) -> None:
        with FakeServer(MANNERS) as fake:
            path = write_demo(tmp_path, fake.url, tries=1)
            content = yaml.safe_load(path.read_text())
            content["requests"] = {**content.get("requests", {}), "retries": retries}
            path.write_text(yaml.safe_dump(content, sort_keys=False))
            fake.begin({("editor", PROBE): ONCE})
            done = staircase("run", str(path), "q", "--staircase", "normal")
        assert done.returncode == (0 if retries else 1), done.stderr


def test_the_command_tells_whom_answers_lack(tmp_path: Path) -> None:
    """One of three proposers answers HTTP 400 each time, another with nothing."""
    with FakeServer(MANNERS) as fake:
        path = write_demo(tmp_path, fake.url)
        bad = {("north", PROBE + number): BAD for number in range(9)}
        empty = {("south", PROBE + number): Fault("stops", 0) for number in range(9)}
        fake.begin({**bad, **empty})
        save = tmp_path / "record.jsonl"
        words = ["--staircase", "normal", "--requests", "2", "--save", str(save)]
        done = staircase("run", str(path), *words)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 answers lack north: http://127.0.0.1" in done.stdout
    assert "HTTP 400: as scripted" in done.stdout
    assert "2 of 2 answers lack south: wrote nothing" in done.stdout
    for line in save.read_text().splitlines():
        assert set(json.loads(line)["missing"]) == {"north", "south"}


def test_a_validation_tells_whom_answers_lack(tmp_path: Path) -> None:
    with FakeServer(MANNERS) as fake:
        scenario = demo(tmp_path, fake.url)
        pipeline = scenario.pipeline.build()
        names = ("ttft_s", "smooth_start_s", "e2e_s")
        forecast = {name: summarize([1.0]) for name in names}
        schedules = (uniform(pipeline, constant(8, 8, 6)), Schedule())
        candidates = tuple(Candidate(schedule, forecast) for schedule in schedules)
        plan = Plan("x", ("ttft",), (), candidates, (0, 1), 0, 1, 1, 5.3, {}, provenance_of_now())
        with open_engines(scenario) as opened:
            fake.begin({("north", number): BAD for number in range(99)})
            checked, _ = validate(scenario, tmp_path, plan, opened, requests=2, front=0)
    for row in checked.rows:
        (one,) = row.shortfalls
        assert (one.agent, one.is_part, one.answers) == ("north", False, 2)
        assert "HTTP 400" in one.why
    assert checked.shortfall_lines[0].startswith("normal: 2 of 2 answers lack north: http://")
    save_validation(tmp_path / "v.json", checked)
    assert load_validation(tmp_path / "v.json") == checked
    content = TypeAdapter(Validation).dump_python(checked, mode="json")
    told = shortfall_rows(Figures({"validation": content}), checked)
    assert len(told) == len(checked.rows)
    assert "answers lack" in told[0]
