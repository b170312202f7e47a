"""Triggers: items that start an agent as soon as they begin, items of inputs, answers that wait."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from executor.gateway.served_plan import (
    CHOSEN,
    NORMAL,
    Point,
    ServedPlan,
    ServingLimits,
    ladder_of,
    single_point,
)
from executor.input_engine import NO_PROMPT, InputEngine
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.tokens.item_starts import ItemStarts
from planner.profiling.subjects import pipeline_subject
from planner.search.space import Space
from planner.tables.metrics_table import run_lines
from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from simulator.workloads import workload_of
from staircase import (
    Agent,
    Pipeline,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    constant,
)
from staircase.conductor import Conductor
from staircase.errors import PipelineError, ScheduleError
from staircase.messages import Call, CallEnded, Item, Revised, StartCall, TokensThere
from staircase.metrics.measured import measure_all
from staircase.metrics.run_metrics import Slo, measure_run
from staircase.metrics.ttft import ttft_path
from staircase.pipeline import Arrival, Fork
from staircase.prompt import Segment
from staircase.revisions.updates import Update
from staircase.spec.pipeline_spec import PipelineSpec
from staircase.spec.plan_spec import PlanSpec
from staircase.spec.scenario import Scenario
from staircase.spec.workload_spec import WorkloadSpec
from staircase.timeline import to_ps
from staircase.workload import Question
from tests.support.backends import FORM
from tests.support.characters import Characters
from tests.support.gateway_server import Running, running
from tests.support.random_cases import trigger_case
from tests.support.scripted_engine import RecallingEngine, ScriptedEngine
from tests.test_gateway_inputs import PLAN, content_of, post, spoken
from tests.test_updates import check_alone

# A token every 0.01 s, the first after 0.1 s, so that token n is there at 0.09 + 0.01·n.
ENDPOINT = EndpointSetup(to_ps(0.1), to_ps(0.01))
BEGUN = Fork("heard", 1, starts_when="begun")
# A word a second.
HEARD = Agent("heard", arrival=Arrival(1.0), max_tokens=1000, items="x")
Revision = Literal["rewrite", "keep"]


def speaking(fork: Fork = BEGUN, *more: Agent) -> Pipeline:
    """An item of what is heard starts the answer; ``more`` agents are read by it too."""
    reads = ("heard", *(agent.name for agent in more))
    return Pipeline((HEARD, *more, Agent("z", reads=reads, fork=fork)), "z")


def shape(items: Sequence[int], updates: Sequence[Update] = (), **lengths: int) -> RequestShape:
    known = {"heard": 20, "z": 10, "n": 5, **lengths}
    if updates:
        known["heard"] = updates[-1].standing + updates[-1].tokens
    coming = {"heard": (*updates,)} if updates else {}
    fixed = {f"query/{name}": 4 for name in ("z", "n")}
    return RequestShape(fixed, known, "length", items={"heard": items}, updates=coming)


def play(
    pipeline: Pipeline, request: RequestShape, schedule: Schedule | None = None
) -> tuple[Timeline, dict[str, list[Call]]]:
    calls: dict[str, list[Call]] = {}
    line = simulate(
        pipeline,
        schedule or Schedule(),
        dict.fromkeys(pipeline.engines, ENDPOINT),
        Workload([request]),
        lambda call: calls.setdefault(call.agent, []).append(call),
    )[0]
    return line, calls


def began_s(line: Timeline, agent: str = "z") -> list[float]:
    return [span.submitted_ps / 1e12 for span in line.spans if span.agent == agent]


class TestStarts:
    def test_an_item_starts_a_branch_when_it_begins(self) -> None:
        """A complete one, in the same text, starts with the next."""
        line, calls = play(speaking(), shape([6, 12]))
        assert (began_s(line), calls["z"][0].read) == ([7.0], (7,))
        late, whole = play(speaking(Fork("heard", 1)), shape([6, 12]))
        assert (began_s(late), whole["z"][0].read) == ([13.0], (12,))

    def test_a_branch_may_see_of_its_item_what_is_there(self) -> None:
        _, calls = play(speaking(replace(BEGUN, sees="item")), shape([6, 12]))
        assert calls["z"][0].prompt.segments[-1] == Segment("heard", 6, 7)

    def test_what_is_heard_is_cut_off_with_the_answer(self) -> None:
        """Until then it might take back what started it."""
        line, _ = play(speaking(), shape([6], z=95))
        assert line.written["heard"] == 8
        line, _ = play(speaking(), shape([6]))
        assert line.written["heard"] == 7
        assert line.spans[0].reason == "cancelled"

    def test_a_watcher_decides_when_to_answer(self) -> None:
        """It reads in steps and writes a token in each; its item starts the answer, which reads
        what is heard in steps of its own."""
        watcher = Agent("w", reads=("heard",), items="x")
        fork = Fork("w", 1, starts_when="begun")
        pipeline = Pipeline(
            (replace(HEARD, items=""), watcher, Agent("z", reads=("w", "heard"), fork=fork)), "z"
        )
        request = RequestShape(
            {"query/w": 4, "query/z": 4}, {"heard": 20, "w": 9, "z": 10}, "length", items={"w": [2]}
        )
        schedule = Schedule({"w": constant(3, 3, 1), "z": constant(4, 30, 5)})
        line, calls = play(pipeline, request, schedule)
        # The third token is written on nine words, 0.1 s after the ninth.
        assert began_s(line) == pytest.approx([9.1, 20.0])
        assert [call.read for call in calls["z"]] == [(3, 4), (3, 20)]
        assert line.written["w"] == 3

    def test_a_simulated_watcher_may_go_by_what_it_read(self) -> None:
        """The first word that it writes on ten words or more, whatever its steps are."""
        watcher = Agent("w", reads=("heard",), items="x")
        agents = [replace(HEARD, items=""), watcher, Agent("z", reads=("w",), fork=self.BY_WATCHER)]
        request = RequestShape(
            {"query/w": 4, "query/z": 4},
            {"heard": 20, "w": 30, "z": 10},
            "length",
            read_before_item={"w": 10},
        )
        for step, write, read, there_s in ((4, 2, 5, 12.1), (5, 3, 4, 10.1), (10, 9, 1, 10.1)):
            schedule = Schedule({"w": constant(step, step, write)})
            line, calls = play(Pipeline(tuple(agents), "z"), request, schedule)
            assert calls["z"][0].read == (read,)
            assert began_s(line) == pytest.approx([there_s])

    BY_WATCHER = Fork("w", 1, starts_when="begun")

    def test_an_item_that_never_comes_leaves_an_empty_answer(self) -> None:
        line, calls = play(speaking(), shape([30]))
        assert "z" not in calls
        assert line.error is None
        assert (line.answer_ps, line.completed_ps) == ((), to_ps(20.0))

    @pytest.mark.parametrize("starts_when", ["begun", "complete"])
    def test_or_the_end_of_the_text_starts_it(
        self, starts_when: Literal["begun", "complete"]
    ) -> None:
        fork = Fork("heard", 1, "item", starts_when, "at_end")
        line, calls = play(speaking(fork), shape([]))
        assert (began_s(line), calls["z"][0].read) == ([20.0], (20,))
        early, _ = play(speaking(fork), shape([3, 5]))
        assert began_s(early) == [4.0 if starts_when == "begun" else 6.0]

    def test_an_answer_without_a_token_is_told(self) -> None:
        lines = [play(speaking(), shape(items))[0] for items in ([6], [30], [8])]
        run = measure_run(measure_all(lines), Slo())
        assert (run.completed, run.empty) == (3, 1)
        assert run_lines(run, [])[1].startswith("1 of 3 answers have no token")
        assert len(run_lines(measure_run(measure_all(lines[:1]), Slo()), [])) == 1

    def test_the_way_to_the_first_token_leads_to_the_item(self) -> None:
        pipeline = speaking()
        for items, waited_s in (([6], 7.0), ([30], 20.0)):
            fork = replace(BEGUN, otherwise="at_end")
            line, _ = play(speaking(fork), shape(items))
            path = ttft_path(line, pipeline, Schedule(), {})
            assert path[0].agent == "heard"
            assert sum(one.length_ps for one in path) == line.answer_ps[0]
            assert sum(one.length_ps for one in path if one.agent == "heard") == to_ps(waited_s)

    def test_nobody_leaves_the_answer_out(self) -> None:
        pipeline = Pipeline((HEARD, *self.branches(3)), "b.1")
        with pytest.raises(ScheduleError, match=r"without 'b\.1': must be .* b\.2, b\.3"):
            Schedule(without=("b.1",)).check(pipeline)
        space = Space(pipeline, PlanSpec(leave_out=3))
        assert {space.schedule(point).without for point in space} == {
            (),
            ("b.3",),
            ("b.2", "b.3"),
        }

    @staticmethod
    def branches(count: int) -> Iterable[Agent]:
        others = tuple(f"b.{n}" for n in range(2, count + 1))
        yield Agent("b.1", reads=("heard", *others), peers=others, fork=BEGUN, template="b")
        for n, name in enumerate(others, start=2):
            yield Agent(name, reads=("heard",), fork=replace(BEGUN, item=n), template="b")


class TestItemsThatFall:
    """Somebody reads on, so that what is heard goes on and is corrected."""

    NOTES = Agent("n", reads=("heard",))
    PIPELINE = Pipeline((HEARD, NOTES, Agent("z", reads=("heard", "n"), fork=BEGUN)), "z")

    @pytest.mark.parametrize("revision", ["rewrite", "keep"])
    def test_what_started_on_one_starts_anew(self, revision: Revision) -> None:
        """The item is the fifth word, and so is the one in its place."""
        request = shape([4], [Update(1, 0, 6), Update(2, 3, 1), Update(3, 4, 6)], n=50, z=400)
        schedule = Schedule({"z": constant(0, 90, 300)}, revision=revision)
        line, calls = play(self.PIPELINE, request, schedule)
        assert [call.read[0] for call in calls["z"]] == [5, 5, 5]
        own = [span for span in line.spans if span.agent == "z"]
        assert (own[0].submitted_ps, own[0].ended_ps) == (to_ps(1), to_ps(2))
        assert own[0].fallen_tokens == own[0].output_tokens == line.retracted_tokens > 0
        assert own[1].submitted_ps == to_ps(3)
        assert calls["z"][1].prompt.segments[1:3] == (
            Segment("heard", 0, 3),
            Segment("heard", 6, 8),
        )

    @pytest.mark.parametrize("revision", ["rewrite", "keep"])
    def test_or_never_again(self, revision: Revision) -> None:
        request = shape([4], [Update(1, 0, 6), Update(2, 3, 1)], n=50, z=400)
        schedule = Schedule({"z": constant(0, 90, 300)}, revision=revision)
        line, _ = play(self.PIPELINE, request, schedule)
        assert line.answer_ps == ()
        assert line.written["z"] == 0
        assert line.retracted_tokens > 0
        assert line.items == {"heard": []}

    def test_that_is_heard_though_nobody_reads_on(self) -> None:
        request = shape([4], [Update(1, 0, 6), Update(2, 3, 1), Update(3, 4, 6)], z=150)
        line, calls = play(speaking(), request)
        assert [call.read for call in calls["z"]] == [(5,), (5,)]
        assert line.retracted_tokens > 0
        assert line.answer_ps[0] == to_ps(3.1)

    def test_what_falls_behind_it_does_not_matter(self) -> None:
        request = shape([2], [Update(1, 0, 6), Update(2, 3, 4)], n=50, z=400)
        line, _ = play(self.PIPELINE, request, Schedule({"z": constant(0, 90, 300)}))
        assert (line.retracted_tokens, line.items) == (0, {"heard": [2]})

    def test_an_item_that_goes_on_was_not_complete(self) -> None:
        """All that the branch saw stands; the item after it, by which its own was complete, does
        not, and comes later."""
        written = {"heard": 6, "n": 0, "z": 0}
        items = {"heard": [Item(0, 1), Item(4, 5)]}
        schedule = Schedule({"z": constant(0, 90, 30)})
        conductor = Conductor(speaking(Fork("heard", 1), self.NOTES), schedule)
        conductor.start()
        (first,) = started(conductor.handle(TokensThere("heard"), written, items))
        assert first.read == (4, 0)
        cut = conductor.handle(Revised("heard", 4, 6), written, items)
        assert not started(cut)
        later = {"heard": [Item(0, 1), Item(6, 7)]}
        written = {"heard": 9, "n": 0, "z": 3}
        (again,) = started(conductor.handle(CallEnded(first.number, "cancelled"), written, later))
        assert (again.read, again.standing) == ((6, 0), 0)

    def test_who_thought_that_it_was_done_starts_anew_too(self) -> None:
        schedule = Schedule({"z": constant(0, 9, 30)}, revision="keep", early_end="continue")
        conductor = Conductor(speaking(BEGUN, self.NOTES), schedule)
        conductor.start()
        written = {"heard": 6, "n": 0, "z": 0}
        items = {"heard": [Item(4, 5)]}
        (first,) = started(conductor.handle(TokensThere("heard"), written, items))
        written["z"] = 3
        assert not started(conductor.handle(CallEnded(first.number, "stop"), written, items))
        assert not started(conductor.handle(Revised("heard", 4, 6), written, items))
        written["heard"] = 7
        (again,) = started(conductor.handle(TokensThere("heard"), written, items))
        assert (again.read, again.standing) == ((5, 0), 0)

    def test_an_end_that_was_none_completes_nothing(self) -> None:
        """A watcher ended on what then falls, all that it wrote stands, and it goes on."""
        agents = (
            replace(HEARD, items=""),
            Agent("w", reads=("heard",), items="x"),
            Agent("b", reads=("w",), fork=Fork("w", 1)),
            Agent("z", reads=("w", "b", "heard")),
        )
        schedule = Schedule({"w": constant(2, 2, 3)}, early_end="accept")
        conductor = Conductor(Pipeline(agents, "z"), schedule)
        conductor.start()
        items = {"w": [Item(0, 1)]}
        written = {"heard": 2, "w": 0, "b": 0, "z": 0}
        (one,) = started(conductor.handle(TokensThere("heard"), written, items))
        written |= {"heard": 4, "w": 3}
        (two,) = started(conductor.handle(CallEnded(one.number, "length"), written, items))
        (branch,) = started(conductor.handle(CallEnded(two.number, "stop"), written, items))
        assert (branch.agent, branch.read) == ("b", (3,))
        (more,) = started(conductor.handle(Revised("heard", 3, 4), {**written, "heard": 5}, items))
        assert (more.agent, more.read, more.written) == ("w", (4,), 3)
        written |= {"heard": 5, "b": 1}
        assert not started(conductor.handle(CallEnded(branch.number, "cancelled"), written, items))
        written |= {"w": 5}
        (again,) = started(conductor.handle(CallEnded(more.number, "stop"), written, items))
        assert (again.agent, again.read, again.standing) == ("b", (5,), 0)

    def test_a_branch_that_goes_back_sees_its_item_alone_as_before(self) -> None:
        """Some of what it read besides falls, and the step before that one stands."""
        outline = Agent("o", max_tokens=9, items="x")
        branch = Agent("z", reads=("o", "heard"), fork=Fork("o", 2, sees="item"))
        pipeline = Pipeline((replace(HEARD, items=""), outline, branch), "z")
        conductor = Conductor(pipeline, Schedule({"z": constant(2, 2, 3)}))
        conductor.start()
        items = {"o": [Item(0, 1), Item(4, 5), Item(6, 7)]}
        written = {"heard": 4, "o": 7, "z": 0}
        (one,) = started(conductor.handle(TokensThere("heard"), written, items))
        written["z"] = 3
        (two,) = started(conductor.handle(CallEnded(one.number, "length"), written, items))
        assert not started(conductor.handle(Revised("heard", 2, 4), written, items))
        written |= {"heard": 6, "z": 5}
        (again,) = started(conductor.handle(CallEnded(two.number, "cancelled"), written, items))
        assert again.step == two.step == 1
        shown = [
            [part for part in call.prompt.segments if part.source == "o"] for call in (two, again)
        ]
        assert shown == [[Segment("o", 4, 6)]] * 2


def started(commands: Iterable[object]) -> list[Call]:
    return [one.call for one in commands if isinstance(one, StartCall)]


def check_answers(seeds: Iterable[int]) -> None:
    """What stands of an answer was written on what stands."""
    for seed in seeds:
        case = trigger_case(seed)
        case = replace(case, schedule=replace(case.schedule, revision="rewrite"))
        for number in range(len(case.workload.requests)):
            check_alone(case, number)


def test_answers_stand_on_what_stands() -> None:
    check_answers(range(20))


@pytest.mark.slow
def test_so_they_do_in_many_cases() -> None:
    check_answers(range(20, 200))


class Words(Characters):
    """Token n of a text is its n-th word."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.words[number] for number in ids)


@given(st.text(st.sampled_from("ab?1. \n"), max_size=30), st.data())
def test_items_of_a_text_that_was_cut_are_those_of_what_is_left(
    text: str, data: st.DataObject
) -> None:
    pattern = data.draw(st.sampled_from([r"\?", r"(?m)^\d+\. ", "a+", "(?<!a)b"]))
    decode, ids = Words(text).decode, list(range(len(text)))
    standing = data.draw(st.integers(0, len(text)))
    cut, fresh = ItemStarts(pattern, decode), ItemStarts(pattern, decode)
    for count in range(1, len(ids) + 1):
        cut.update(ids[:count])
    cut.cut(ids[:standing])
    assert cut.tokens == standing
    more = [*ids[:standing], *data.draw(st.lists(st.sampled_from(ids), max_size=8))] if ids else []
    for count in range(1, len(more) + 1):
        found = fresh.update(more[:count])
        assert count <= standing or found == cut.update(more[:count])


class TestInRealTime:
    ASKS = r"\?"

    def run(
        self,
        updates: Sequence[tuple[float, str]],
        notes: Agent | None = None,
        fork: Fork = BEGUN,
        items: str = ASKS,
    ) -> Outcome:
        more = () if notes is None else (notes,)
        agents = [
            replace(one, items=items) if one.arrival else one for one in speaking(fork, *more)
        ]
        pipeline = Pipeline(tuple(agents), "z")
        served = {
            "z": ServedModel(ScriptedEngine(5, token_s=0.002), FORM),
            "n": ServedModel(ScriptedEngine(400), FORM),
            "heard": ServedModel(InputEngine(Arrival(200.0)), NO_PROMPT),
        }
        coming = {"heard": (*updates,)} if len(updates) > 1 else {}
        question = Question("answer", {"heard": updates[-1][1]}, updates=coming)
        steps = {"z": constant(0, 999, 3), "n": constant(1, 1, 40)}
        own = {name: steps[name] for name in (one.name for one in pipeline.readers)}
        return Runtime(served).run([Job(pipeline, Schedule(own), question)])[0]

    def test_a_question_mark_starts_the_answer(self) -> None:
        outcome = self.run([(0, "so what is it? never mind")])
        (call,) = (one for one in outcome.calls if one.agent == "z")
        assert call.read == (4,)
        assert outcome.timeline.items == {"heard": [3]}
        assert outcome.texts["heard"].startswith("so what is it?")

    def test_a_pattern_may_need_more_than_a_token(self) -> None:
        """All of it is shown."""
        outcome = self.run([(0, "hey computer what time is it")], items="hey computer")
        (call,) = (one for one in outcome.calls if one.agent == "z")
        assert call.read == (2,)
        assert outcome.timeline.items == {"heard": [0]}

    def test_without_one_there_is_no_answer(self) -> None:
        outcome = self.run([(0, "so it is")])
        assert outcome.timeline.error is None
        assert outcome.texts["z"] == ""

    def test_or_the_end_starts_it(self) -> None:
        outcome = self.run([(0, "so it is")], fork=replace(BEGUN, otherwise="at_end"))
        assert outcome.timeline.written["z"] == 5

    NOTES = Agent("n", reads=("heard",))

    def test_a_question_mark_may_fall(self) -> None:
        """The answer has begun by then; it starts again at the one that stays."""
        said = [(0.0, "is it? that"), (0.1, "is it that"), (0.2, "is it that far? or")]
        outcome = self.run(said, self.NOTES)
        calls = [one for one in outcome.calls if one.agent == "z"]
        assert [one.read[0] for one in calls][:2] == [2, 4]
        assert outcome.timeline.retracted_tokens > 0
        assert outcome.timeline.items == {"heard": [3]}
        assert outcome.timeline.written["z"] == 5

    def test_and_never_come_again(self) -> None:
        said = [(0.0, "is it? that"), (0.1, "is it that"), (0.2, "is it that far")]
        outcome = self.run(said, self.NOTES)
        assert [one.read[0] for one in outcome.calls if one.agent == "z"] == [2]
        assert outcome.timeline.items == {"heard": []}
        assert outcome.texts["z"] == ""


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    agents = (replace(HEARD, items=r"\?"), *speaking().agents[1:])
    pipeline = Pipeline(agents, "z")
    own = {"temperature": 0.0, "top_p": 1.0, "top_k": 0}
    served = {
        "z": ServedModel(RecallingEngine(60, token_s=0.003), FORM, own=own),
        "heard": ServedModel(InputEngine(Arrival()), NO_PROMPT),
    }
    chosen = Point(CHOSEN, pipeline, Schedule())
    points = [chosen, replace(chosen, name=NORMAL), single_point(pipeline)]
    named = {point.name: point for point in points}
    plan = ServedPlan(PLAN, Runtime(served), named, ladder_of([chosen]), ServingLimits())
    with running(plan) as found:
        yield found


class TestAtTheGateway:
    """Of what is said while it is answered, and in full."""

    SAID = ("is it? that", "is it that", "is it that far? or", "is it that far? or so")

    @pytest.mark.parametrize("corrections", [False, True])
    def test_an_answer_that_a_falling_item_started_falls(
        self, server: Running, corrections: bool
    ) -> None:
        found = spoken(server, self.SAID, corrections=corrections)
        assert found.error is None
        assert found.text == content_of(post(server, inputs={"heard": self.SAID[-1]}))
        assert len(found.text) == 60
        assert (found.taken_back > 0) == corrections

    def test_without_an_item_the_answer_is_empty(self, server: Running) -> None:
        assert content_of(post(server, inputs={"heard": "it is"})) == ""
        assert spoken(server, ("it", "it is"), corrections=True).text == ""


TEXT = (
    "{inputs: {heard: {tokens_per_s: 2, items: x}}, "
    "agents: {z: {for_each: heard, branches: 1, starts_when: begun}}, answer: z}"
)


def pipeline_of(text: str) -> Pipeline:
    return PipelineSpec.model_validate(yaml.safe_load(text)).build()


class TestScenario:
    def test_an_input_starts_the_answer(self) -> None:
        found = pipeline_of(TEXT)
        assert found.answer == "z.1"
        assert found["z.1"].fork == BEGUN
        assert found["z.1"].reads == ("heard",)
        assert pipeline_of(TEXT.replace("answer: z", "answer: z.1")) == found

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("branches: 1", "branches: 3", "answer 'z' stands for 3 agents; give one that reads"),
            ("items: x", "segment_tokens: 2", "agents.z.for_each: 'heard' has no 'items'"),
            ("for_each: heard, branches: 1, starts_when: begun", "", "inputs.heard.items: start"),
            ("for_each: heard, branches: 1, ", "", "starts_when is of branches; give for_each"),
            ("begun", "seen", "Input should be 'complete' or 'begun'"),
            ("branches: 1", "branches: 2, otherwise: at_end", "at_end would start all whose item"),
            ("items: x", "items: '('", "agent 'heard': items '(' is no regular expression"),
            ("items: x}}, ", "}, ho: {tokens_per_s: 1}}, ", "'heard' has no 'items'"),
            ("{heard: {tokens_per_s: 2, items: x}}", "{}", "'heard' is no agent and no input"),
        ],
    )
    def test_what_cannot_be(self, old: str, new: str, words: str) -> None:
        with pytest.raises((PipelineError, ValueError), match=re.escape(words)):
            pipeline_of(TEXT.replace(old, new))

    def test_a_drawn_pipeline_has_none(self) -> None:
        text = "{single: z, inputs: {heard: {tokens_per_s: 2, items: x}}}"
        with pytest.raises(ValueError, match=r"inputs\.heard\.items: start nobody"):
            pipeline_of(text)

    def test_profiles_are_of_what_starts_whom(self) -> None:
        """Of a branch as it always was, nothing more is said."""
        engine = {"model": "gpt2"}
        changes = [("x", "y"), ("begun", "complete"), ("begun}", "begun, otherwise: at_end}")]
        texts = [TEXT, *(TEXT.replace(*change) for change in changes)]
        subjects = [
            pipeline_subject(
                Scenario.model_validate(
                    {"name": "t", "pipeline": yaml.safe_load(text), "engines": {"z": engine}}
                )
            ).reads["z.1"]
            for text in texts
        ]
        assert subjects[0] == ("heard (item 1, sees text, begun, by x)",)
        assert len(set(subjects)) == 4


class TestWorkload:
    def drawn(self, items: Mapping[str, Any], requests: int = 200) -> list[tuple[int, int]]:
        """Of each request: where the item begins, -1 if there is none, and the answer's tokens."""
        spec = WorkloadSpec.model_validate(
            {
                "requests": requests,
                "output_tokens": {"heard": 30, "z": 7},
                "items": {"heard": items},
            }
        )
        pipeline = pipeline_of(TEXT)
        return [
            (next(iter(one.items["heard"]), -1), one.output_tokens["z.1"])
            for one in workload_of(spec, pipeline, Path()).requests
        ]

    def test_says_when(self) -> None:
        found = self.drawn({"count": 1, "before": {"mean": 12, "sigma": 0.3}})
        places = [place for place, _ in found if place >= 0]
        assert sum(places) / len(places) == pytest.approx(12, abs=1)
        assert len(set(places)) > 5

    def test_says_how_often(self) -> None:
        """Behind the end none comes, nor where none is drawn; then there is no answer."""
        found = self.drawn({"count": {"values": [0, 1, 1, 1]}, "before": {"values": [9, 30, 40]}})
        assert {place for place, _ in found} == {-1, 9}
        assert all((place >= 0) == (tokens > 0) for place, tokens in found)

    def test_may_say_what_is_read_by_then(self) -> None:
        text = (
            "{inputs: {heard: {tokens_per_s: 2}}, agents: {w: {reads: [heard], items: x}, "
            "z: {for_each: w, branches: 1, starts_when: begun}}, answer: z}"
        )
        content = {
            "requests": 50,
            "output_tokens": {"heard": 30, "w": 9, "z": 7},
            "items": {"w": {"read": {"mean": 12, "sigma": 0.3}}},
        }
        spec = WorkloadSpec.model_validate(content)
        requests = workload_of(spec, pipeline_of(text), Path()).requests
        found = [one.read_before_item["w"] for one in requests]
        assert sum(found) / 50 == pytest.approx(12, abs=2)
        assert all((one.items, one.output_tokens["z.1"]) == ({}, 7) for one in requests)

    @pytest.mark.parametrize(
        ("items", "words"),
        [
            ({}, "give count, or read"),
            ({"count": 1, "read": 9}, "give count, or read"),
            ({"read": 9, "before": 3}, "before has no effect beside read"),
        ],
    )
    def test_what_it_cannot_say(self, items: dict[str, int], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            WorkloadSpec.model_validate({"items": {"heard": items}})

    def test_others_share_the_rest(self) -> None:
        spec = WorkloadSpec.model_validate(
            {
                "requests": 1,
                "output_tokens": {"heard": 30, "z": 7},
                "items": {"heard": {"count": 4, "before": 10}},
            }
        )
        (request,) = workload_of(spec, pipeline_of(TEXT), Path()).requests
        assert request.items == {"heard": [10, 15, 20, 25]}
