"""Votes: samples are drawn until one answer is ahead, and the text of one for it is taken."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from executor.draws import TextPosition, draw_seed
from executor.engine import CallReport, EngineCall, Listener
from executor.opened_engines import OpenedEngines, without_models
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from planner.api.serving import gateway_of
from planner.figures.describing import describe_schedule
from planner.workspace import Workspace
from simulator.analytic.request_form import closed_form
from simulator.analytic.sketch import sketch_of
from simulator.compiled.play import play_compiled
from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from simulator.unread import unread_of_timeline
from simulator.workloads import workload_of
from staircase import Agent, Barrier, Pipeline, RequestShape, Schedule, Timeline, Workload, constant
from staircase.errors import PipelineError, ScenarioError, ScheduleError, WorkloadError
from staircase.metrics.measured import measure_all
from staircase.metrics.request_metrics import OF_VOTES, measure
from staircase.metrics.shortfalls import missing_of
from staircase.metrics.ttft import ttft_path
from staircase.pipeline import Arrival
from staircase.schedule import parse_barrier
from staircase.spec.pipeline_spec import PipelineSpec
from staircase.spec.scenario import load_scenario
from staircase.spec.workload_spec import BallotsSpec, WorkloadSpec
from staircase.timeline import to_ps
from staircase.votes import DISCARDED, NO_BALLOT, Ballot, Count, Vote, count
from staircase.workload import Question
from tests.support.command_line import ROOT, staircase
from tests.support.scripted_engine import ScriptedEngine

ENGINE = EndpointSetup(to_ps(0.1), to_ps(0.01))
NAMES: tuple[str, ...] = ("s1", "s2", "s3", "s4", "s5")
USUAL = Vote()
RIGHT, WRONG, OTHER = Ballot("r", is_right=True), Ballot("w", is_right=False), Ballot("o")


def voting(names: tuple[str, ...] = NAMES, vote: Vote = USUAL) -> Pipeline:
    samples = [Agent(name, "e", max_tokens=100) for name in names]
    return Pipeline((*samples, Agent("v", reads=names, max_tokens=10**6, vote=vote)), "v")


PIPELINE = voting()


def request(
    ballots: Mapping[str, Ballot], lengths: Mapping[str, int] | None = None
) -> RequestShape:
    """Sample n writes 10·n tokens unless ``lengths`` says otherwise, so they end in their order."""
    usual = {name: 10 * number for number, name in enumerate(ballots, start=1)}
    prompts = {f"query/{name}": 3 for name in ballots}
    return RequestShape(prompts, lengths or usual, "length", ballots=ballots)


def play(
    ballots: str,
    barrier: str = "all",
    at_once: int | None = None,
    lengths: Mapping[str, int] | None = None,
    pipeline: Pipeline = PIPELINE,
) -> Timeline:
    """``ballots``: a letter for each sample: r, w, o, - for none, x for a discarded one."""
    known = {"r": RIGHT, "w": WRONG, "o": OTHER, "-": NO_BALLOT, "x": DISCARDED}
    said = {name: known[letter] for name, letter in zip(NAMES, ballots, strict=True)}
    schedule = Schedule(barrier=parse_barrier(barrier), at_once=at_once)
    engines = {"e": ENGINE}
    return simulate(pipeline, schedule, engines, Workload([request(said, lengths)]))[0]


def reasons(line: Timeline) -> str:
    """How each sample that was asked ended: . for itself, c for cancelled."""
    spans = [span for span in line.spans if span.agent != "v"]
    return "".join("c" if span.reason == "cancelled" else "." for span in spans)


class TestBallots:
    def test_the_last_match_counts_and_of_it_the_first_group(self) -> None:
        vote = Vote(r"ANSWER: *(\S+)")
        assert vote.ballot("ANSWER: 3, no. ANSWER:  4 ").answer == "4"
        assert vote.ballot("I do not know") == NO_BALLOT

    def test_without_a_group_the_match_is_the_answer(self) -> None:
        assert Vote(r"\d+").ballot("6 or 7").answer == "7"

    def test_a_group_of_nothing_is_no_answer(self) -> None:
        assert Vote(r"A:(x)?").ballot("A:") == NO_BALLOT
        assert Vote(r"A:( *)").ballot("A:  ") == NO_BALLOT

    def test_without_a_pattern_it_is_the_text(self) -> None:
        assert Vote().ballot(" yes\n").answer == "yes"
        assert Vote().ballot(" \n") == NO_BALLOT

    def test_a_red_flag_discards(self) -> None:
        vote = Vote(r"\d+", matches="(?i)as an ai")
        assert vote.ballot("As an AI, 7") == DISCARDED
        assert vote.ballot("7").answer == "7"

    def test_whether_it_is_right_is_known_where_the_answer_is(self) -> None:
        assert Vote().ballot("Yes", " yes ").is_right is True
        assert Vote().ballot("no", "yes").is_right is False
        assert Vote().ballot("no").is_right is None

    @pytest.mark.parametrize("key", ["answer", "matches"])
    def test_a_pattern_that_is_none_is_told(self, key: str) -> None:
        with pytest.raises(PipelineError, match=rf"vote: {key} '\(' is no regular expression"):
            Vote(**{key: "("})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ballots", "winner", "lead"),
    [
        ("", None, 0),
        ("--", None, 0),
        ("r", "1", 1),
        ("-wr", "2", 0),
        ("wrr", "2", 1),
        ("wrrw", "1", 0),
        ("wrorr", "2", 2),
    ],
)
def test_counting(ballots: str, winner: str | None, lead: int) -> None:
    cast = [(str(n), None if b == "-" else b) for n, b in enumerate(ballots, start=1)]
    assert count(cast) == Count(winner, lead)


class TestAMajority:
    """Barrier ``all``: everybody's ballot counts."""

    def test_takes_the_text_of_the_first_for_the_most_frequent_answer(self) -> None:
        line = play("wrrow")
        # Two for each of w and r: the first in reading order decides.
        assert line.votes["v"].winner == "s1"
        assert play("wrrorr"[:5]).votes["v"].winner == "s2"
        assert line.written["v"] == 10

    def test_costs_nothing_and_comes_when_the_last_has_ended(self) -> None:
        line = play("rrrrr")
        span = line.spans[-1]
        last = max(one.ended_ps for one in line.spans if one.agent != "v")
        assert (span.agent, span.submitted_ps, span.ended_ps) == ("v", last, last + 1)
        assert (span.busy_ps, span.prompt_tokens, span.cached_tokens) == (0, 0, 0)
        assert line.answer_ps == (last + 1,) * 10
        assert reasons(line) == "....."

    def test_without_a_ballot_there_is_no_text(self) -> None:
        line = play("x-x--")
        found = line.votes["v"]
        assert (found.winner, found.cast, found.discarded, line.written["v"]) == (None, 0, 2, 0)
        assert line.error is None
        assert found.is_right is None

    def test_no_winner_is_wrong_where_the_right_answer_is_known(self) -> None:
        assert play("x---w", lengths=dict.fromkeys(NAMES, 0)).votes["v"].is_right is None
        assert play("x----").votes["v"].is_right is None
        assert play("w----").votes["v"].is_right is False

    def test_who_writes_nothing_casts_no_ballot(self) -> None:
        lengths = {**dict.fromkeys(NAMES, 5), "s1": 0}
        assert play("wrrrr", lengths=lengths).votes["v"].cast == 4

    def test_who_is_not_asked_has_no_ballot(self) -> None:
        said = dict.fromkeys(NAMES, RIGHT)
        schedule = Schedule(without=("s1", "s2"))
        line = simulate(PIPELINE, schedule, {"e": ENGINE}, Workload([request(said)]))[0]
        assert (line.votes["v"].winner, line.votes["v"].asked) == ("s3", 3)


class TestAhead:
    def test_is_decided_when_one_answer_leads_by_so_many(self) -> None:
        line = play("wrrrr", "ahead:2")
        # Ballots in the order of the ends: w, r, r, r: two ahead at the fourth.
        assert reasons(line) == "....c"
        found = line.votes["v"]
        assert (found.winner, found.answer, found.asked, found.cast) == ("s2", "r", 5, 4)
        assert found.is_right is True

    def test_the_order_of_ends_counts_not_that_of_reading(self) -> None:
        lengths = {"s1": 50, "s2": 40, "s3": 30, "s4": 20, "s5": 10}
        line = play("rrwww", "ahead:2", lengths=lengths)
        assert line.votes["v"].winner == "s4"
        assert reasons(line) == "ccc.."

    def test_one_ahead_is_the_first_good_one(self) -> None:
        line = play("-xrww", "ahead:1")
        assert line.votes["v"].winner == "s3"
        assert (line.votes["v"].cast, line.votes["v"].discarded) == (1, 1)
        assert reasons(line) == "...cc"

    def test_all_ended_without_a_lead(self) -> None:
        line = play("wrwrr", "ahead:3")
        assert line.votes["v"].winner == "s2"
        assert reasons(line) == "....."

    def test_a_tie_of_all_goes_to_the_first(self) -> None:
        assert play("wrwr-", "ahead:3").votes["v"].winner == "s1"

    def test_other_agents_wait_for_all(self) -> None:
        pipeline = voting(NAMES[:2])
        reader = Agent("z", "e", ("v", "s3", "s4"), max_tokens=9)
        third = [Agent(name, "e", max_tokens=100) for name in ("s3", "s4")]
        whole = Pipeline((*pipeline.agents, *third, reader), "z")
        said = {**dict.fromkeys(NAMES[:2], RIGHT)}
        shape = replace(
            request(said), output_tokens={"s1": 10, "s2": 20, "s3": 30, "s4": 40, "z": 9}
        )
        schedule = Schedule(barrier=Barrier("ahead", 1))
        line = simulate(whole, schedule, {"e": ENGINE}, Workload([shape]))[0]
        last = next(span for span in line.spans if span.agent == "z")
        assert last.read == (10, 30, 40)
        assert unread_of_timeline(whole, schedule, line, shape) == 0

    def test_a_quorum_is_of_texts_that_have_ended(self) -> None:
        line = play("wrrrr", "quorum:3")
        assert (line.votes["v"].winner, line.votes["v"].cast) == ("s2", 3)

    def test_text_that_is_too_long_is_discarded(self) -> None:
        pipeline = voting(vote=Vote(over_tokens=25))
        found = play("wrrrr", pipeline=pipeline).votes["v"]
        assert (found.winner, found.cast, found.discarded) == ("s1", 2, 3)

    def test_a_text_in_pieces_votes_once(self) -> None:
        """A sample that reads something has its ballot when it has ended, not after a step."""
        samples = [Agent(name, "e", ("plan",), max_tokens=100) for name in NAMES[:3]]
        vote = Agent("v", reads=NAMES[:3], vote=Vote())
        pipeline = Pipeline((Agent("plan", "e"), *samples, vote), "v")
        shape = request(dict.fromkeys(NAMES[:3], RIGHT))
        shape = replace(shape, output_tokens={**shape.output_tokens, "plan": 40})
        steps = {name: constant(4, 4, 2) for name in NAMES[:3]}
        schedule = Schedule(steps, barrier=Barrier("ahead", 2))
        line = simulate(pipeline, schedule, {"e": ENGINE}, Workload([shape]))[0]
        assert (line.votes["v"].winner, line.votes["v"].cast) == ("s1", 2)
        assert line.written["s2"] == line.written["v"] + 10 == 20
        assert sum(span.agent == "s1" for span in line.spans) > 1


class TestAtOnce:
    def test_the_next_begins_when_one_has_ended(self) -> None:
        line = play("wrrrr", at_once=2)
        begins = {span.agent: span.submitted_ps for span in line.spans}
        ends = {span.agent: span.ended_ps for span in line.spans}
        assert begins["s1"] == begins["s2"] == 0
        assert [begins[name] for name in NAMES[2:]] == [ends[name] for name in NAMES[:3]]

    def test_who_is_not_needed_is_never_asked(self) -> None:
        line = play("wrrrr", "ahead:2", at_once=1)
        assert reasons(line) == "...."
        assert line.votes["v"].asked == 4
        assert line.written["s5"] == 0

    def test_those_of_one_vote_do_not_wait_for_another(self) -> None:
        line = nested(at_once=1)
        begins = {span.agent: span.submitted_ps for span in line.spans}
        assert begins["a1"] == begins["b1"] == 0
        assert begins["a2"] > 0 < begins["b2"]

    def test_a_sample_may_read_a_later_one(self) -> None:
        """Turns are in the order of the pipeline, so nobody waits for whose turn comes later."""
        first = Agent("s1", "e", ("s2",))
        agents = (first, Agent("s2", "e"), Agent("v", reads=("s1", "s2"), vote=Vote()))
        shape = request(dict.fromkeys(("s1", "s2"), RIGHT))
        schedule = Schedule(at_once=1)
        line = simulate(Pipeline(agents, "v"), schedule, {"e": ENGINE}, Workload([shape]))[0]
        assert line.votes["v"].cast == 2

    @pytest.mark.parametrize("number", [0, 65])
    def test_bounds(self, number: int) -> None:
        with pytest.raises(ScheduleError, match=f"at_once is {number}, must be from 1 to 64"):
            Schedule(at_once=number)


def nested(at_once: int | None = None, barrier: str = "all") -> Timeline:
    """Two votes on two and on three samples, and a vote on these votes."""
    names = ("a1", "a2", "b1", "b2", "b3")
    agents = (
        *(Agent(name, "e") for name in names),
        Agent("a", reads=names[:2], vote=Vote()),
        Agent("b", reads=names[2:], vote=Vote()),
        Agent("v", reads=("b", "a"), vote=Vote()),
    )
    said = {"a1": WRONG, "a2": RIGHT, "b1": NO_BALLOT, "b2": RIGHT, "b3": RIGHT}
    schedule = Schedule(barrier=parse_barrier(barrier), at_once=at_once)
    workload = Workload([request(said)])
    return simulate(Pipeline(agents, "v"), schedule, {"e": ENGINE}, workload)[0]


class TestNested:
    def test_a_vote_says_what_the_text_says_that_it_took(self) -> None:
        line = nested()
        assert {name: one.winner for name, one in line.votes.items()} == {
            "a": "a1",
            "b": "b2",
            "v": "b",
        }
        assert line.written["v"] == line.written["b"] == line.written["b2"] == 40
        assert measure(line).vote_right == pytest.approx(2 / 3)
        assert measure(line).samples == 5

    def test_votes_within_votes_are_cut_off_too(self) -> None:
        line = nested(barrier="ahead:1")
        assert line.votes["v"].winner == "a"
        assert {span.agent for span in line.spans if span.reason == "cancelled"} == {
            "a2",
            "b1",
            "b2",
            "b3",
        }


def drawn(rng: np.random.Generator) -> tuple[Pipeline, Schedule, RequestShape]:
    """Any number of samples, who may read each other, on whom some vote."""
    names = [f"s{number}" for number in range(int(rng.integers(1, 9)))]
    agents, left, votes = [], list(names), 0
    for place, name in enumerate(names):
        reads = tuple(one for one in names[:place] if rng.random() < 0.2)
        agents.append(Agent(name, "e", reads, max_tokens=int(rng.integers(1, 30))))
    while len(left) > 1 or not votes:
        size = int(rng.integers(1 + (len(left) > 1), len(left) + 1))
        chosen = [left.pop(int(rng.integers(len(left)))) for _ in range(size)]
        limit = None if rng.random() < 0.7 else int(rng.integers(1, 20))
        agents.append(Agent(f"v{votes}", reads=tuple(chosen), vote=Vote(over_tokens=limit)))
        left.append(f"v{votes}")
        votes += 1
    answer = left[0]
    if rng.random() < 0.4:
        agents.append(Agent("z", "e", (left[0], *names[:1]), max_tokens=9))
        answer = "z"
    barrier = ["all", "ahead:1", "ahead:2", "ahead:3", "quorum:2", "grace:1,0.2"]
    schedule = Schedule(
        {
            name: constant(3, 5, 4)
            for name in [agent.name for agent in agents if agent.reads and not agent.vote]
            if rng.random() < 0.5
        },
        barrier=parse_barrier(barrier[int(rng.integers(len(barrier)))]),
        starve="write" if rng.random() < 0.3 else "wait",
        early_end="continue" if rng.random() < 0.3 else "accept",
        at_once=None if rng.random() < 0.4 else int(rng.integers(1, 4)),
    )
    said = [RIGHT, WRONG, OTHER, NO_BALLOT, DISCARDED]
    lengths = {name: int(rng.integers(0, 30)) for name in [*names, "z"]}
    ballots = {name: said[int(rng.integers(len(said)))] for name in names}
    return (
        Pipeline(tuple(agents), answer),
        schedule,
        replace(request(ballots), output_tokens=lengths),
    )


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_every_play_ends_and_every_vote_takes_a_whole_text(seed: int) -> None:
    pipeline, schedule, shape = drawn(np.random.default_rng(seed))
    line = simulate(pipeline, schedule, {"e": ENGINE}, Workload([shape]))[0]
    assert line.error is None
    assert pipeline.answer in {span.agent for span in line.spans}
    for name, found in line.votes.items():
        taken = line.written[found.winner] if found.winner else 0
        is_cut_off = any(s.agent == name and s.reason == "cancelled" for s in line.spans)
        assert line.written[name] == (0 if is_cut_off else taken)
        assert found.cast + found.discarded <= len(pipeline[name].reads)
        assert (found.winner is None) == (found.cast == 0)
    for vote in pipeline.votes:
        # A text of nothing is over when it begins.
        spans = [s for s in line.spans if s.agent in vote.reads and s.submitted_ps < s.ended_ps]
        for span in spans:
            writing = {s.agent for s in spans if s.submitted_ps <= span.submitted_ps < s.ended_ps}
            assert len(writing) <= (schedule.at_once or 64)


def chances(p: float, samples: int, barrier: str, requests: int) -> tuple[float, float, int]:
    """The share of votes that were right and how many samples they took, simulated."""
    names = tuple(f"s.{n}" for n in range(1, samples + 1))
    agents = [Agent(name, "e", max_tokens=9, template="s") for name in names]
    pipeline = Pipeline((*agents, Agent("v", reads=names, vote=Vote())), "v")
    spec = WorkloadSpec(
        requests=requests,
        seed=5,
        query_tokens=1,
        output_tokens={"s": 1},
        ballots={"s": BallotsSpec(right=p, flagged=0.1)},
    )
    workload = workload_of(spec, pipeline, Path())
    schedule = Schedule(barrier=parse_barrier(barrier), at_once=1)
    lines = simulate(pipeline, schedule, {"e": ENGINE}, workload)
    found = measure_all(lines).columns
    most = int(found["samples"].max())
    return float(found["vote_right"].mean()), float(found["samples"].mean()), most


@pytest.mark.parametrize(("p", "k"), [(0.6, 1), (0.7, 2), (0.65, 3)])
def test_the_share_that_is_right_is_that_of_the_gamblers_ruin(p: float, k: int) -> None:
    """Ahead by k of two answers: p^k / (p^k + q^k) are right, after (k·(2R − 1)) / (p − q) ballots,
    and 1 / (1 − flagged) as many texts. Within four standard errors of 250 votes."""
    requests, q = 250, 1 - p
    right, samples, most = chances(p, 48, f"ahead:{k}", requests)
    expected = p**k / (p**k + q**k)
    assert right == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / requests))
    needed = k * (2 * expected - 1) / (p - q) / 0.9
    # The bound on samples is not in sight, and the spread of first passages is below their mean.
    assert most < 48
    assert samples == pytest.approx(needed, abs=4 * needed / math.sqrt(requests))


class TestDraws:
    SPEC = WorkloadSpec(
        requests=40,
        query_tokens=64,
        output_tokens={"s": 5, "lone": 7},
        ballots={"s": BallotsSpec(right=0.6, wrong_answers=3), "lone": BallotsSpec(right=1)},
    )

    def workload(self, spec: WorkloadSpec = SPEC, samples: int = 3) -> Workload:
        names = tuple(f"s.{n}" for n in range(1, samples + 1))
        agents = [Agent(name, "e", template="s") for name in names]
        vote = Agent("v", reads=(*names, "lone"), vote=Vote())
        return workload_of(spec, Pipeline((*agents, Agent("lone", "e"), vote), "v"), Path())

    def test_each_sample_has_its_own(self) -> None:
        requests = self.workload().requests
        said = [tuple(one.ballots[f"s.{n}"].answer for n in (1, 2, 3)) for one in requests]
        assert {answer for row in said for answer in row} == {
            "right",
            "wrong 1",
            "wrong 2",
            "wrong 3",
        }
        assert any(len(set(row)) > 1 for row in said)
        assert {one.ballots["lone"].answer for one in requests} == {"right"}

    def test_they_leave_all_other_draws_as_they_are(self) -> None:
        more = self.SPEC.model_copy(
            update={"ballots": {**self.SPEC.ballots, "s": BallotsSpec(right=0)}}
        )
        one, two = self.workload().requests, self.workload(more).requests
        assert [r.output_tokens for r in one] == [r.output_tokens for r in two]
        assert {r.ballots["s.1"].is_right for r in two} == {False}

    def test_samples_are_asked_with_the_same_text(self) -> None:
        """So a prefix cache that has it of one has it for all."""
        fixed = self.workload().requests[0].fixed_tokens
        assert {"query/s", "query/lone"} <= fixed.keys()
        assert "query/s.1" not in fixed

    def test_who_says_nothing_of_ballots_is_told(self) -> None:
        shape = replace(request(dict.fromkeys(NAMES, RIGHT)), ballots={})
        with pytest.raises(WorkloadError, match=r"what 's1' votes for; give workload\.ballots"):
            simulate(PIPELINE, Schedule(), {"e": ENGINE}, Workload([shape]))


def test_only_requests_with_votes_have_their_figures() -> None:
    alone = Pipeline((Agent("z", "e"),), "z")
    shape = RequestShape({"query/z": 1}, {"z": 4})
    lines = simulate(alone, Schedule(), {"e": ENGINE}, Workload([shape]))
    assert not set(OF_VOTES) & measure_all(lines).summaries().keys()
    assert set(OF_VOTES) <= measure_all([play("rrrrr")]).summaries().keys()


def test_what_the_first_token_waited_for() -> None:
    """The text that decided it, and where not all write at once those before it."""
    schedule = Schedule(barrier=parse_barrier("ahead:2"))
    found = ttft_path(play("wrrrr", "ahead:2"), PIPELINE, schedule, {})
    assert {one.agent for one in found} == {"s4", "v"}
    assert found[-1].phase == "arrive"
    one_by_one = replace(schedule, at_once=1)
    path = ttft_path(play("wrrrr", "ahead:2", at_once=1), PIPELINE, one_by_one, {})
    assert list(dict.fromkeys(one.agent for one in path)) == ["s1", "s2", "s3", "s4", "v"]


class TestWhatCannotBeSaid:
    def test_pipelines(self) -> None:
        source, vote = Agent("a", "e"), Vote()
        with pytest.raises(PipelineError, match="agent 'v' votes on 0 texts, must be 1 to 64"):
            Agent("v", vote=vote)
        with pytest.raises(PipelineError, match="can have neither peers nor an engine"):
            Agent("v", "e", ("a",), vote=vote)
        with pytest.raises(PipelineError, match="votes on 'q', which is an input"):
            Pipeline((Agent("q", arrival=Arrival()), Agent("v", reads=("q",), vote=vote)), "v")
        two = [Agent(name, reads=("a",), vote=vote) for name in ("v", "w")]
        with pytest.raises(PipelineError, match="v and w vote on 'a'; one of them may"):
            Pipeline((source, *two, Agent("z", "e", ("v", "w"))), "z")
        with pytest.raises(PipelineError, match="vote 'e' has the name of an engine"):
            Pipeline((source, Agent("e", reads=("a",), vote=vote)), "e")

    def test_schedules(self) -> None:
        with pytest.raises(ScheduleError, match="staircase for 'v', which votes, on whole texts"):
            Schedule({"v": constant(1, 1, 1)}).check(PIPELINE)
        alone = Pipeline((Agent("z", "e"),), "z")
        with pytest.raises(ScheduleError, match="at_once: is for votes, and nobody votes"):
            Schedule(at_once=2).check(alone)
        with pytest.raises(ScheduleError, match="barrier ahead: is for votes"):
            Schedule(barrier=Barrier("ahead", 2)).check(alone)
        with pytest.raises(ScheduleError, match="a reader has nobody to read"):
            Schedule(without=NAMES).check(PIPELINE)
        with pytest.raises(ScheduleError, match="count is 0, must be from 1"):
            parse_barrier("ahead:0")

    def test_faster_forms_leave_them_to_the_simulator(self) -> None:
        workload = Workload([request(dict.fromkeys(NAMES, RIGHT))])
        engines = {"e": ENGINE}
        assert play_compiled(PIPELINE, Schedule(), engines, workload) is None
        assert sketch_of(PIPELINE, engines, workload) is None
        with pytest.raises(ScheduleError, match="no closed form"):
            closed_form(PIPELINE, Schedule(), {}, workload.requests[0])


class TestScenarios:
    def build(self, **agents: object) -> Pipeline:
        spec = {"agents": {**agents, "v": {"reads": ["s"], "vote": {}}}, "answer": "v"}
        return PipelineSpec.model_validate(spec).build()

    def test_samples_are_agents_of_one_engine(self) -> None:
        pipeline = self.build(s={"samples": 3, "max_tokens": 7, "role": "think"})
        assert [agent.name for agent in pipeline] == ["s.1", "s.2", "s.3", "v"]
        assert pipeline["v"].reads == ("s.1", "s.2", "s.3")
        assert pipeline.engines == ("s",)
        assert {(agent.max_tokens, agent.role) for agent in pipeline.agents[:3]} == {(7, "think")}

    def test_samples_read_what_the_agent_reads(self) -> None:
        spec = {
            "agents": {
                "plan": {"engine": "e", "samples": 2},
                "s": {"engine": "e", "samples": 2, "reads": ["plan"]},
                "v": {"reads": ["s"], "vote": {"discard": {"over_tokens": 9}}},
                "z": {"engine": "e", "reads": ["v"]},
            },
            "answer": "z",
        }
        pipeline = PipelineSpec.model_validate(spec).build()
        assert pipeline["s.2"].reads == ("plan.1", "plan.2")
        assert pipeline["v"].vote == Vote(over_tokens=9)


class Reciting(ScriptedEngine):
    """Writes the text of each agent, by its name.

    ``hangs`` names one that never begins, ``fails`` one whose call fails when its text is there.
    """

    def __init__(self, texts: Mapping[str, str], hangs: str = "", fails: str = "") -> None:
        super().__init__(0)
        self._texts, self._hangs, self._fails = texts, hangs, fails

    def _serve(self, call: EngineCall, listener: Listener) -> None:
        started, agent, reason = time.perf_counter_ns(), call.text.split("/")[1], "stop"
        if agent == self._hangs:
            self._cancelled[call.key].wait(10)
            reason = "cancelled"
        else:
            for token in self.encode(self._texts[agent]):
                listener.on_token(call.key, token, time.perf_counter_ns())
        ended = time.perf_counter_ns()
        error = "broken" if agent == self._fails else None
        report = CallReport(reason, started, ended, 1, 0, error)  # type: ignore[arg-type]
        listener.on_end(call.key, report)


class TestInRealTime:
    TEXTS: ClassVar = {
        "s1": "It is 3. A: 3",
        "s2": "I think A: 4",
        "s3": "As an AI, A: 3",
        "s4": "A: 4",
        "s5": "no idea",
    }

    def run(
        self, schedule: Schedule, hangs: str = "", fails: str = "", reference: str | None = None
    ) -> Outcome:
        pipeline = voting(vote=Vote(r"A: *(\S+)", matches="As an AI"))
        served = {"e": ServedModel(Reciting(self.TEXTS, hangs, fails), PromptFormat())}
        served |= without_models(pipeline, served)
        job = Job(pipeline, schedule, Question("2 + 2?", reference=reference))
        return Runtime(served).run([job])[0]

    def test_ballots_are_found_in_texts(self) -> None:
        outcome = self.run(Schedule(), reference="4")
        found = outcome.timeline.votes["v"]
        assert (found.winner, found.answer, found.is_right) == ("s2", "4", True)
        assert (found.cast, found.discarded, found.asked) == (3, 1, 5)
        assert outcome.texts["v"] == outcome.texts["s2"]
        assert (
            found.words("v")
            == "v took the text of s2, for '4', which is right: 3 ballots and 1 discarded texts "
            "of 5, 5 of them begun"
        )

    def test_it_does_not_wait_for_one_that_hangs(self) -> None:
        line = self.run(Schedule(barrier=Barrier("ahead", 1)), hangs="s5").timeline
        assert {span.reason for span in line.spans if span.agent == "s5"} == {"cancelled"}
        assert missing_of(line) == {}
        assert line.votes["v"].is_right is None

    def test_one_that_fails_casts_no_ballot(self) -> None:
        found = self.run(Schedule(), fails="s2").timeline.votes["v"]
        assert (found.winner, found.cast, found.discarded) == ("s1", 2, 1)

    def test_one_by_one(self) -> None:
        line = self.run(Schedule(barrier=Barrier("ahead", 1), at_once=1), reference="4").timeline
        assert (line.votes["v"].winner, line.votes["v"].is_right) == ("s1", False)
        assert {span.agent for span in line.spans} == {"s1", "v"}

    def test_other_samples_draw_other_texts(self) -> None:
        """Draws are of the agent's name (``executor.draws``)."""
        places = [TextPosition(f"0/solver.{number}", 0) for number in (1, 2, 3)]
        assert len({draw_seed(7, place) for place in places}) == 3


def scenario(folder: Path, **changes: object) -> Path:
    content = yaml.safe_load((ROOT / "examples" / "vote.yaml").read_text())
    for place, value in changes.items():
        *way, key = place.split("__")
        inner = content
        for step in way:
            inner = inner[step]
        inner[key] = value
        if value is None:
            del inner[key]
    path = folder / "vote.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


WRONG_KEYS = {
    "pipeline__agents__solver__samples": (65, "pipeline.agents.solver.samples: .* equal to 64"),
    "pipeline__agents__verdict__engine": ("solver", "engine has no effect beside vote"),
    "pipeline__agents__verdict__vote": (
        {"answer": "("},
        r"pipeline\.agents\.verdict\.vote: vote: answer '\(' is no regular expression",
    ),
    "workload__ballots": (None, "does not say how often 'solver' is right; give solver:"),
    "workload__ballots__other": ({"right": 0.5}, "workload.ballots: nobody votes on 'other'"),
    "workload__ballots__solver__right": (2, "workload.ballots.solver.right"),
    "workload__output_tokens": ({}, "does not say how much 'solver' writes"),
    "plan__at_once": ([0], "plan.at_once"),
    "engines__verdict": ({"kind": "endpoint", "ttft_s": 1, "itl_s": 1}, "'verdict' votes and has"),
}


@pytest.mark.parametrize("place", WRONG_KEYS)
def test_wrong_keys_are_told(tmp_path: Path, place: str) -> None:
    value, words = WRONG_KEYS[place]
    with pytest.raises(ScenarioError, match=words) as caught:
        load_scenario(scenario(tmp_path, **{place: value}))
    assert "\n" not in str(caught.value)


def test_plans_of_pipelines_without_votes_search_none(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "examples" / "peers.yaml").read_text())
    for key, value in (("at_once", [2]), ("barrier", ["ahead:2"])):
        (tmp_path / "plain.yaml").write_text(yaml.safe_dump({**content, "plan": {key: value}}))
        with pytest.raises(ScenarioError, match=rf"plan.{key}: .*nobody votes in this pipeline"):
            load_scenario(tmp_path / "plain.yaml")


def test_samples_of_a_greedy_model_are_refused(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "examples" / "vote_smollm2.yaml").read_text())
    content["engines"]["solver"]["temperature"] = 0
    path = tmp_path / "greedy.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ScenarioError, match="all samples of 'solver' would be the same text"):
        load_scenario(path)


def test_it_is_not_served_and_no_quality_is_measured(tmp_path: Path) -> None:
    work = Workspace.open(ROOT / "examples" / "vote_smollm2.yaml", tmp_path)
    with pytest.raises(ScenarioError, match=r"verdict\.vote: cannot be served"), gateway_of([work]):
        pass
    opened = OpenedEngines({}, {}, {}, {}, Runtime({}))
    assert opened.why_no_scores(PIPELINE) == (
        "whose text v takes depends on ballots, which no score knows"
    )


def test_a_plan_finds_how_far_ahead(tmp_path: Path) -> None:
    path = scenario(tmp_path, workload__requests=30)
    done = staircase("plan", str(path), "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["named"]["chosen"]
    assert found["schedule"]["barrier"]["kind"] == "ahead"
    assert found["forecast"]["vote_right"]["mean"] >= 0.9
    assert "at most" in describe_schedule(Schedule(at_once=4))


def test_a_timeline_is_kept_with_its_votes() -> None:
    kept = TypeAdapter(Timeline)
    line = play("wrx-r", "ahead:1")
    assert kept.validate_json(kept.dump_json(line)) == line
