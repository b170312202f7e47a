"""Inputs that replace part of what they said."""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.engine import CallReport, EngineCall, Key
from executor.input_engine import InputEngine, LiveUpdates
from executor.prompts.input_text import input_text
from planner import plan
from planner.figures.describing import describe_schedule
from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from simulator.workloads import workload_of
from staircase import (
    Agent,
    Pipeline,
    Question,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    constant,
    uniform,
)
from staircase.errors import ScenarioError, WorkloadError
from staircase.messages import Call
from staircase.metrics.request_metrics import measure
from staircase.pipeline import Arrival
from staircase.play import Play
from staircase.prompt import Segment
from staircase.question_sets import read_questions
from staircase.revisions.standing_text import Pieces, StandingText, numbers
from staircase.revisions.updates import Update, in_turn, written_tokens
from staircase.spec.scenario import Scenario, load_scenario
from staircase.spec.workload_spec import WorkloadSpec
from staircase.timeline import to_ps
from tests.support.command_line import ROOT, staircase
from tests.support.random_cases import RandomCase, update_case

ENDPOINT = EndpointSetup(to_ps(0.1), to_ps(0.01))
HEARD = Agent("heard", arrival=Arrival(2.0), max_tokens=1000)
PIPELINE = Pipeline((HEARD, Agent("z", reads=("heard",))), "z")
WITH_NOTES = Pipeline(
    (HEARD, Agent("notes", reads=("heard",)), Agent("z", reads=("heard", "notes"))), "z"
)


def shape(updates: list[Update], **tokens: int) -> RequestShape:
    stand = updates[-1].standing + updates[-1].tokens
    fixed = {f"query/{name}": 5 for name in tokens}
    return RequestShape(fixed, {"heard": stand, **tokens}, "length", updates={"heard": (*updates,)})


def play(schedule: Schedule, request: RequestShape, pipeline: Pipeline = PIPELINE) -> Timeline:
    engines = dict.fromkeys(pipeline.engines, ENDPOINT)
    return simulate(pipeline, schedule, engines, Workload([request]))[0]


class TestStandingText:
    @given(st.data())
    def test_is_what_a_list_would_be(self, data: st.DataObject) -> None:
        """Every token is named by its place; what falls is cut from the list."""
        text, plain, written = StandingText(), list[int](), 0
        for _ in range(data.draw(st.integers(0, 6))):
            more = data.draw(st.integers(0, 5))
            plain += range(written, written + more)
            written += more
            count = data.draw(st.integers(0, len(plain)))
            text.cut(count, written, written)
            del plain[count:]
        more = data.draw(st.integers(0, 5))
        plain += range(written, written + more)
        written += more
        assert text.count(written) == len(plain)
        start, stop = sorted(data.draw(st.integers(0, len(plain))) for _ in range(2))
        places = [n for begin, end in text.pieces(start, stop) for n in range(begin, end)]
        assert places == plain[start:stop]
        whole = list(text.pieces(0, len(plain)))
        first, last = sorted(data.draw(st.integers(0, written)) for _ in range(2))
        found = [n for begin, end in numbers(whole, first, last) for n in range(begin, end)]
        assert found == [number for number, place in enumerate(plain) if first <= place < last]

    def test_what_is_being_written_may_not_stand(self) -> None:
        text = StandingText()
        text.cut(3, 5, None)
        assert text.count(9) == 3
        text.grows_from = 9
        assert text.count(11) == 5
        assert list(text.pieces(2, 5)) == [(2, 3), (9, 11)]


class TestSimulated:
    def test_a_reader_is_cut_off_and_begins_again(self) -> None:
        """It reads four tokens at 1 s and writes for a second; three of them stand at 1.5 s."""
        line = play(
            uniform(PIPELINE, constant(4, 4, 60)),
            shape([Update(1.0, 0, 4), Update(1.5, 3, 3)], z=80),
        )
        spans = [span for span in line.spans if span.agent == "z"]
        assert [span.read for span in spans] == [(4,), (4,), (6,)]
        assert spans[0].ended_ps == to_ps(1.5)
        assert spans[0].reason == "cancelled"
        assert spans[0].fallen_tokens == spans[0].output_tokens > 0
        assert line.retracted_tokens == spans[0].output_tokens
        assert spans[1].submitted_ps == to_ps(1.5)
        assert line.written == {"heard": 6, "z": 80}
        assert len(line.answer_ps) == 80
        assert min(line.answer_ps) > to_ps(1.5)

    def test_what_was_written_may_be_kept(self) -> None:
        schedule = replace(uniform(PIPELINE, constant(4, 4, 90)), revision="keep")
        line = play(schedule, shape([Update(1.0, 0, 4), Update(1.5, 3, 3)], z=60))
        spans = [span for span in line.spans if span.agent == "z"]
        assert line.retracted_tokens == 0
        assert spans[1].written == spans[0].output_tokens > 0
        assert len(line.answer_ps) == line.written["z"] == 60

    def test_whoever_read_what_fell_begins_again_too(self) -> None:
        """Notes end before the revision and are written anew; so is what was read of them."""
        schedule = Schedule({"notes": constant(4, 4, 90), "z": constant(2, 100, 5)})
        line = play(
            schedule, shape([Update(1.0, 0, 4), Update(3.0, 2, 6)], notes=10, z=30), WITH_NOTES
        )
        notes = [span for span in line.spans if span.agent == "notes"]
        assert notes[0].fallen_tokens == notes[0].output_tokens == 10
        assert sum(span.standing_tokens for span in notes) == 10
        answer = [span for span in line.spans if span.agent == "z"]
        # Two tokens of each source were read before, and those of the input stand.
        assert answer[0].read == (2, 2)
        assert answer[0].fallen_tokens == 5
        assert line.written == {"heard": 8, "notes": 10, "z": 30}

    def test_who_had_not_read_so_far_is_left_alone(self) -> None:
        line = play(
            uniform(PIPELINE, constant(2, 100, 5)),
            shape([Update(1.0, 0, 4), Update(3.0, 2, 6)], z=30),
        )
        assert line.retracted_tokens == 0
        assert [span.read for span in line.spans if span.agent == "z"] == [(2,), (8,)]

    def test_who_may_write_no_more_does_not_begin_again(self) -> None:
        agents = (HEARD, Agent("z", reads=("heard",), max_tokens=4))
        line = play(
            replace(uniform(PIPELINE, constant(4, 4, 4)), revision="keep"),
            shape([Update(1.0, 0, 4), Update(1.12, 2, 3)], z=20),
            Pipeline(agents, "z"),
        )
        spans = [span for span in line.spans if span.agent == "z"]
        assert [span.output_tokens for span in spans] in ([4], [2, 2], [1, 3], [3, 1])

    def test_an_update_may_only_take_back(self) -> None:
        line = play(Schedule(), shape([Update(1.0, 0, 9), Update(2.0, 4, 0)], z=10))
        span = next(span for span in line.spans if span.agent == "z")
        assert span.read == (4,)
        assert span.submitted_ps == to_ps(2.0)

    def test_counts_from_the_last_of_it(self) -> None:
        found = measure(play(Schedule(), shape([Update(1.0, 0, 4), Update(2.5, 1, 4)], z=10)))
        assert found.input_s == pytest.approx(2.5)

    @pytest.mark.parametrize(
        ("updates", "words"),
        [
            ([Update(1.0, 1, 4)], "update 1 keeps 1 tokens and adds 4; 0 are there"),
            ([Update(1.0, 0, 4), Update(2.0, 5, 1)], "update 2 keeps 5 tokens and adds 1; 4 are"),
            ([Update(1.0, 0, 4), Update(0.5, 4, 1)], "in order"),
            ([Update(-1.0, 0, 4)], "at 0 s or later"),
        ],
    )
    def test_what_cannot_be(self, updates: list[Update], words: str) -> None:
        with pytest.raises(WorkloadError, match=words):
            shape(updates, z=1)

    def test_an_input_may_be_too_long(self) -> None:
        request = shape([Update(1.0, 0, 900), Update(2.0, 0, 900)], z=1)
        with pytest.raises(WorkloadError, match="max_tokens of 1800 or more"):
            play(Schedule(), request)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_what_stands_was_written_on_what_stands(seed: int) -> None:
    """And every play ends."""
    check_standing(seed)


@pytest.mark.slow
def test_so_it_was_in_many_cases() -> None:
    for seed in range(200):
        check_standing(seed)


def check_standing(seed: int) -> None:
    case = update_case(seed)
    case = replace(case, schedule=replace(case.schedule, revision="rewrite"))
    for number in range(len(case.workload.requests)):
        check_alone(case, number)


def check_alone(case: RandomCase, number: int) -> None:
    calls, played = list[Call](), list[Play]()

    class Kept(Play):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            played.append(self)

    workload = Workload([case.workload.requests[number]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.des.simulate.Play", Kept)
        try:
            line = simulate(case.pipeline, case.schedule, case.setups, workload, calls.append)[0]
        except WorkloadError:
            return
    pieces = {agent.name: played[0].pieces(agent.name) for agent in case.pipeline}
    for call, span in zip(calls, line.spans, strict=True):
        # Others may have ended before what they read was revised, and nobody reads on.
        if span.standing_tokens and call.agent == case.pipeline.answer:
            read = [one for one in call.prompt.segments if one.source in pieces]
            assert all(stands(one, pieces[one.source]) for one in read)
    for agent in case.pipeline:
        assert tokens(pieces[agent.name]) == line.written[agent.name]
        own = [span for span in line.spans if span.agent == agent.name]
        if not agent.arrival:
            assert line.written[agent.name] == sum(span.standing_tokens for span in own)
    assert len(line.answer_ps) == line.written[case.pipeline.answer]
    assert list(line.answer_ps) == sorted(line.answer_ps)
    own = [span for span in line.spans if span.agent == case.pipeline.answer]
    assert line.retracted_tokens == sum(span.fallen_tokens for span in own)


def stands(segment: Segment, pieces: Pieces) -> bool:
    return tokens([*numbers(pieces, segment.start, segment.stop)]) == segment.tokens


def tokens(pieces: Pieces) -> int:
    return sum(stop - start for start, stop in pieces)


def test_what_is_written_in_all() -> None:
    assert written_tokens([Update(0, 0, 3), Update(1, 1, 4)]) == 7


class Heard:
    """What an input brought: tokens, and how many stood when some fell."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.fell: list[int] = []
        self.reason = ""
        self.over = threading.Event()

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.ids.append(token)

    def on_revised(self, key: Key, standing: int, time_ns: int) -> None:
        self.fell.append(standing)
        del self.ids[standing:]

    def on_end(self, key: Key, report: CallReport) -> None:
        self.reason = report.reason
        self.over.set()


class TestInRealTime:
    CALL = EngineCall((0, 0), (), 1000)

    def test_lines_are_all_that_is_there(self) -> None:
        reading, writing = os.pipe()
        engine, heard = LiveUpdates(reading), Heard()
        engine.submit(self.CALL, heard)
        os.write(writing, b"Why does\n\nWhy does bred rice\nWhy does bread rise?\n")
        os.close(writing)
        assert heard.over.wait(5)
        os.close(reading)
        assert engine.decode(heard.ids) == "Why does bread rise?"
        assert heard.fell == [2]
        assert heard.reason == "stop"

    def test_a_cancelled_one_brings_nothing_more(self) -> None:
        reading, writing = os.pipe()
        engine, heard = LiveUpdates(reading), Heard()
        engine.submit(self.CALL, heard)
        engine.cancel(self.CALL.key)
        assert heard.over.wait(5)
        os.write(writing, b"too late\n")
        os.close(writing)
        assert heard.reason == "cancelled"
        assert heard.ids == []

    def test_of_a_data_set_come_when_they_are_due(self) -> None:
        engine, heard = InputEngine(Arrival(1.0)), Heard()
        question = Question(
            "q", {"heard": "a b c"}, updates={"heard": ((0, "a x y"), (0.05, "a b c"))}
        )
        text = input_text(engine, question, "heard")
        assert text.shape == (Update(0, 0, 3), Update(0.05, 1, 2))
        engine.submit(replace(self.CALL, updates=text.updates), heard)
        assert heard.over.wait(5)
        assert engine.decode(heard.ids) == "a b c"
        assert heard.fell == [1]

    def test_at_once_is_what_stands_in_the_end(self) -> None:
        engine, heard = InputEngine(Arrival(1.0)).at_once(), Heard()
        question = Question("q", {"heard": "a b c"}, updates={"heard": ((0, "x"), (60, "a b c"))})
        text = input_text(engine, question, "heard")
        engine.submit(replace(self.CALL, prompt_ids=text.ids, updates=text.updates), heard)
        assert heard.over.wait(5)
        assert engine.decode(heard.ids) == "a b c"
        assert not heard.fell


class TestDataSets:
    def read(self, folder: Path, updates: object) -> Question:
        path = folder / "questions.jsonl"
        path.write_text(json.dumps({"query": "q", "inputs": {"heard": updates}}))
        return read_questions(path)[0]

    def test_of_a_list(self, tmp_path: Path) -> None:
        found = self.read(tmp_path, [{"at": 0.5, "text": "a"}, {"at": 1, "text": "a b"}])
        assert found.inputs == {"heard": "a b"}
        assert found.updates == {"heard": ((0.5, "a"), (1.0, "a b"))}

    @pytest.mark.parametrize(
        ("updates", "words"),
        [
            ([], "needs updates, of which the last is its whole text"),
            ([{"at": 1, "text": " "}], "needs updates"),
            ([{"text": "a"}], 'update 1: needs {"at": seconds'),
            ([{"at": -1, "text": "a"}], "update 1: needs"),
            (
                [{"at": 1, "text": "a"}, {"at": 0.5, "text": "b"}],
                "update 2: comes at 0.5 s, before",
            ),
            ([{"at": 1, "text": 4}], "text: must be a text"),
            ("", None),
        ],
    )
    def test_what_cannot_be(self, tmp_path: Path, updates: object, words: str | None) -> None:
        if words is None:
            assert not self.read(tmp_path, updates).updates
            return
        with pytest.raises(WorkloadError, match=re.escape(words)):
            self.read(tmp_path, updates)


class TestWorkloads:
    def spec(self, share: float) -> WorkloadSpec:
        return WorkloadSpec.model_validate(
            {
                "requests": 50,
                "output_tokens": {"heard": {"mean": 30, "sigma": 0.5}, "z": 10},
                "updates": {"heard": {"share": share, "tokens": {"mean": 3, "sigma": 0.5}}},
            }
        )

    def drawn(self, share: float) -> Workload:
        return workload_of(self.spec(share), PIPELINE, Path())

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_so_many_segments_are_replaced(self, share: float) -> None:
        segments = [
            one
            for request in self.drawn(share).requests
            for one in in_turn(request.updates["heard"])
            if one.stood
        ]
        found = sum(one.replaces for one in segments) / len(segments)
        assert found == pytest.approx(share, abs=0.05)

    def test_what_stands_in_the_end_does_not_depend_on_it(self) -> None:
        some, none = self.drawn(0.3), self.drawn(0.0)
        for one, other in zip(some.requests, none.requests, strict=True):
            assert one.output_tokens == other.output_tokens
            last = one.updates["heard"][-1]
            assert last.standing + last.tokens == one.output_tokens["heard"]
            assert written_tokens(other.updates["heard"]) == one.output_tokens["heard"]

    def test_only_of_inputs(self, tmp_path: Path) -> None:
        text = (ROOT / "examples" / "heard.yaml").read_text()
        path = tmp_path / "scenario.yaml"
        path.write_text(text.replace("updates: {question:", "updates: {speaker:"))
        with pytest.raises(ScenarioError, match=r"workload\.updates: 'speaker' is no input"):
            load_scenario(path)


class TestSearched:
    """Whether what was written on replaced words is kept."""

    def scenario(self, folder: Path, old: str = "", new: str = "") -> Path:
        text = (ROOT / "examples" / "heard.yaml").read_text()
        text = text.replace("max_unread", "revision: [rewrite, keep], max_unread")
        text = text.replace("trials: 150", "trials: 24")
        assert old in text
        path = folder / "scenario.yaml"
        path.write_text(text.replace(old, new))
        return path

    def test_both_are_tried(self, tmp_path: Path) -> None:
        found = plan(self.scenario(tmp_path), out=tmp_path)
        tried = {one.schedule.revision: one for one in found.candidates}
        assert tried.keys() == {"rewrite", "keep"}
        kept = [one for one in found.candidates if one.schedule.revision == "keep"]
        assert all(one.forecast["retracted_tokens"].mean == 0 for one in kept)
        assert "kept where inputs are replaced" in describe_schedule(kept[0].schedule)

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("updates: {question: {share: 0.4, tokens: {mean: 3, sigma: 0.5}}}", "", "is replaced"),
            ("revision: [rewrite, keep]", "revision: [forget]", "rewrite"),
        ],
    )
    def test_what_has_no_effect_is_refused(
        self, tmp_path: Path, old: str, new: str, words: str
    ) -> None:
        with pytest.raises(ScenarioError, match=rf"plan\.revision.*{words}"):
            load_scenario(self.scenario(tmp_path, old, new))

    def test_only_where_there_are_inputs(self) -> None:
        content = yaml.safe_load((ROOT / "examples" / "vote.yaml").read_text())
        content["plan"] = {"revision": ["rewrite", "keep"]}
        with pytest.raises(ValueError, match=r"plan\.revision: this pipeline has no inputs"):
            Scenario.model_validate(content)

    def test_in_a_command(self) -> None:
        words = ["--staircase", "constant:4,4,4", "--revision", "keep", "--json"]
        kept = staircase("simulate", "examples/heard.yaml", *words)
        assert kept.returncode == 0, kept.stderr
        assert json.loads(kept.stdout)["forecast"]["retracted_tokens"]["mean"] == 0
        none = staircase("simulate", "examples/forks.yaml", *words)
        assert none.returncode == 2
        assert "--revision has no effect here: the pipeline has no inputs" in none.stderr
