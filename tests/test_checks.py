"""Texts that are checked when their agents have read more."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.engine import EngineCall
from executor.inprocess.sampling import GREEDY, Sampling
from executor.request_run import ServedModel
from executor.runtime import Job, Runtime
from executor.tokens.rendering import PromptFormat
from planner.figures.describing import describe_schedule
from planner.figures.objectives import Goals, parse_objective
from planner.results.reader_gain import ReaderGain
from planner.search.neighbours import neighbours_of
from planner.search.space import Space
from profiles.quality.reading import read_along
from simulator.analytic.request_form import closed_form
from simulator.compiled.play import play_compiled
from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from staircase import (
    Agent,
    Pipeline,
    Question,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    chain,
    constant,
    debate,
    moa,
    normal,
    uniform,
)
from staircase.conductor import Conductor
from staircase.errors import PlanError, ScenarioError, ScheduleError, WorkloadError
from staircase.messages import Call, CallEnded, CancelCall, Checked, Retract, StartCall
from staircase.metrics.request_metrics import Summary, measure
from staircase.prompt import Prompt, Segment
from staircase.revisions.acceptance import Acceptance, CheckedText, EvenAcceptance
from staircase.revisions.show_times import ShowTimes
from staircase.schedule import parse_checked
from staircase.spec.plan_spec import PlanSpec
from staircase.spec.scenario import Scenario
from staircase.timeline import Span, last_readings, to_ps
from staircase.votes import Vote
from tests.support.backends import BatchingBackend, TransformersBackend
from tests.support.checked_readers import check_readers
from tests.support.random_cases import checked_case
from tests.support.scripted_engine import RecallingEngine, ScriptedEngine

MOA = moa([["a", "b", "c"]], "z")
TWO_LAYERS = moa([["a", "b"], ["c", "d"]], "z")
ENDPOINT = EndpointSetup(to_ps(0.1), to_ps(0.01))
LENGTHS = {"a": 30, "b": 21, "c": 39, "z": 37}
FORM = PromptFormat()


def checked(pipeline: Pipeline, level: int | None, **options: Any) -> Schedule:
    plain = uniform(pipeline, constant(4, 5, 6), "rebuild")
    return replace(plain, checked=level, **options)


def shape(acceptance: Acceptance | None, **tokens: int) -> RequestShape:
    fixed = {f"query/{name}": 5 for name in tokens}
    return RequestShape(fixed, tokens, "length", acceptance=acceptance)


def play(schedule: Schedule, rate: float, pipeline: Pipeline = MOA, **tokens: int) -> Timeline:
    request = shape(EvenAcceptance(rate, 7), **(tokens or LENGTHS))
    engines = dict.fromkeys(pipeline.engines, ENDPOINT)
    return simulate(pipeline, schedule, engines, Workload([request]))[0]


# what a schedule means


class TestConductor:
    """z reads a and b; a step reads 4 tokens more and writes 3."""

    PIPELINE = Pipeline((Agent("a"), Agent("b"), Agent("z", reads=("a", "b"))), "z")

    def begin(self, level: int | None = None, **options: Any) -> Conductor:
        schedule = uniform(self.PIPELINE, constant(4, 4, 3), "rebuild")
        conductor = Conductor(self.PIPELINE, replace(schedule, checked=level, **options))
        conductor.start()
        return conductor

    def calls(self, commands: Sequence[object]) -> list[Call]:
        return [one.call for one in commands if isinstance(one, StartCall)]

    def second(self, conductor: Conductor, early: str = "length") -> Call:
        """z's second call, after a first one that wrote 3 tokens on 4."""
        conductor.handle(Checked(99, 0), {"a": 4, "b": 4, "z": 0})
        conductor.handle(CallEnded(2, early), {"a": 4, "b": 4, "z": 3})  # type: ignore[arg-type]
        return self.calls(conductor.handle(Checked(99, 0), {"a": 8, "b": 8, "z": 3}))[0]

    def test_all_that_is_not_settled_is_checked_with_the_next_step(self) -> None:
        call = self.second(self.begin())
        assert (call.checked, call.standing, call.max_tokens, call.settles) == (3, 3, 3, False)

    def test_text_falls_from_where_it_would_have_been_another(self) -> None:
        conductor = self.begin()
        call = self.second(conductor)
        written = {"a": 8, "b": 8, "z": 3}
        assert Retract("z", 1) in conductor.handle(Checked(call.number, 1), written)
        assert conductor.pieces("z", 3) == [(0, 1)]
        # Two in place of those that fell, and three more.
        assert conductor.pieces("z", 8) == [(0, 1), (3, 8)]
        conductor.handle(CallEnded(call.number, "length"), {**written, "z": 8})
        third = self.calls(conductor.handle(Checked(99, 0), {"a": 12, "b": 12, "z": 8}))[0]
        assert (third.standing, third.fallen, third.checked) == (6, 2, 6)

    def test_what_stands_takes_nothing_back(self) -> None:
        conductor = self.begin()
        call = self.second(conductor)
        conductor.handle(Checked(call.number, 3), {"a": 8, "b": 8, "z": 3})
        assert not conductor.has_revised

    def test_settled_text_is_never_checked_again(self) -> None:
        conductor = self.begin(level=8)
        call = self.second(conductor)
        assert (call.checked, call.settles) == (3, True)
        conductor.handle(Checked(call.number, 2), {"a": 8, "b": 8, "z": 3})
        conductor.handle(CallEnded(call.number, "length"), {"a": 8, "b": 8, "z": 7})
        third = self.calls(conductor.handle(Checked(99, 0), {"a": 12, "b": 12, "z": 7}))[0]
        assert (third.checked, third.standing) == (0, 6)

    def test_a_call_that_was_cut_off_before_its_check_settles_nothing(self) -> None:
        conductor = self.begin(level=8)
        call = self.second(conductor)
        conductor.handle(CallEnded(call.number, "cancelled"), {"a": 8, "b": 8, "z": 3})
        third = self.calls(conductor.handle(Checked(99, 0), {"a": 12, "b": 12, "z": 3}))[0]
        assert third.checked == 3

    def test_a_text_that_ended_early_is_not_over_until_it_is_settled(self) -> None:
        assert self.second(self.begin(), early="stop").checked == 3

    def test_a_step_that_a_later_one_overtakes_is_skipped(self) -> None:
        conductor = self.begin()
        conductor.handle(Checked(99, 0), {"a": 4, "b": 4, "z": 0})
        late = {"a": 21, "b": 17, "z": 3}
        call = self.calls(conductor.handle(CallEnded(2, "length"), late))[0]
        assert (call.step, call.read) == (3, (16, 16))

    def test_what_nobody_will_see_is_not_written_on(self) -> None:
        """Once all is read that settles a text, no word on less is worth writing."""
        conductor = self.begin()
        conductor.handle(Checked(99, 0), {"a": 4, "b": 4, "z": 0})
        written = {"a": 9, "b": 7, "z": 1}
        assert CancelCall(2) not in conductor.handle(CallEnded(0, "length"), written)
        assert CancelCall(2) in conductor.handle(CallEnded(1, "length"), written)
        last = self.calls(conductor.handle(CallEnded(2, "cancelled"), written))[0]
        assert (last.read, last.checked, last.is_last) == ((9, 7), 1, True)

    def test_a_text_that_is_full_is_checked_all_the_same(self) -> None:
        agents = (*self.PIPELINE.agents[:2], Agent("z", reads=("a", "b"), max_tokens=3))
        schedule = replace(uniform(self.PIPELINE, constant(4, 4, 3), "rebuild"), checked=None)
        conductor = Conductor(replace(self.PIPELINE, agents=agents), schedule)
        conductor.start()
        call = self.second(conductor)
        assert (call.checked, call.max_tokens) == (3, 0)


@pytest.mark.parametrize("level", [None, 1, 7, 200])
@pytest.mark.parametrize("pipeline", [MOA, TWO_LAYERS, chain(["x", "y", "z"])])
def test_nothing_falls_where_all_stands(pipeline: Pipeline, level: int | None) -> None:
    tokens = {agent.name: 20 + 3 * place for place, agent in enumerate(pipeline)}
    line = play(checked(pipeline, level), 1.0, pipeline, **tokens)
    assert all(span.checked_tokens == span.kept_tokens for span in line.spans)
    assert all(span.fallen_tokens == 0 for span in line.spans)
    assert line.written == tokens


def test_at_level_0_nothing_is_checked_or_held_back() -> None:
    plain = uniform(MOA, constant(4, 5, 6), "rebuild")
    assert play(replace(plain, checked=0, show="at_once"), 0.5) == play(plain, 0.5)


# what a reader sees


@given(st.data())
def test_times_of_what_is_shown(data: st.DataObject) -> None:
    """What was shown stays as it is until it falls, and is all in the end."""
    shown, now, seen = ShowTimes(), 0, list[int]()
    for _ in range(data.draw(st.integers(0, 8))):
        now += 10
        kind = data.draw(st.sampled_from(["add", "held", "show", "retract"]))
        count = data.draw(st.integers(0, len(shown.times_ps)))
        fell = shown.retracted
        if kind == "show":
            shown.show(count, now)
        elif kind == "retract":
            shown.retract(count)
        else:
            shown.add([now] * data.draw(st.integers(0, 3)), kind == "add")
        if kind == "retract":
            assert shown.retracted - fell == max(0, len(seen) - count)
            seen = seen[:count]
        assert shown.times_ps[: len(seen)] == seen
        seen = shown.times_ps[: shown.shown]
        assert seen == sorted(seen)
    shown.show(len(shown.times_ps), now)
    assert shown.shown == len(shown.times_ps)


def test_what_readers_see() -> None:
    """``tests/test_exact_revisions.py`` looks at a thousand more cases."""
    for seed in range(24):
        case = checked_case(seed)
        check_readers(case, simulate(case.pipeline, case.schedule, case.setups, case.workload))


def test_what_was_taken_back_was_shown_at_once() -> None:
    line = play(checked(MOA, None, show="at_once"), 0.8)
    fell = sum(span.fallen_tokens for span in line.spans if span.agent == "z")
    assert line.retracted_tokens == fell > 0
    figures = measure(line)
    assert figures.retracted_tokens == fell
    spans = [span for span in line.spans if span.checked_tokens]
    kept, looked = sum(s.kept_tokens for s in spans), sum(s.checked_tokens for s in spans)
    assert figures.kept == kept / looked < 1
    held = play(checked(MOA, None), 0.8)
    assert held.completed_ps == line.completed_ps
    assert held.answer_ps[0] > line.answer_ps[0]


def test_where_nothing_is_checked_there_is_no_such_figure() -> None:
    figures = measure(play(uniform(MOA, constant(4, 5, 6), "rebuild"), 0.8))
    assert np.isnan(figures.kept)
    assert np.isnan(figures.retracted_tokens)
    assert parse_objective("retracted").cost({}) == 0


def test_readings_are_those_of_the_last_check() -> None:
    line = play(checked(MOA, None), 0.9)
    spans = [span for span in line.spans if span.agent == "z"]
    places = [place for _, *place in last_readings(spans, line.written["z"])]
    assert places == [[0, line.written["z"]]]
    reading = read_along(line, "z", line.written["z"], [30, 21, 39])
    assert set(reading.levels.tolist()) == {39}
    assert not len(reading.restarts)


def test_last_readings_are_those_of_a_list() -> None:
    """Calls write over a list what they checked and wrote."""
    rng = random.Random(5)
    for _ in range(50):
        spans, text = list[Span](), list[int]()
        for call in range(rng.randint(1, 6)):
            looked = rng.randint(0, len(text))
            kept = rng.randint(0, looked)
            more = rng.randint(0, 4)
            stood = len(text) - looked + kept
            text = [*text[: len(text) - looked], *[call] * (kept + more)]
            spans.append(span_of(call, stood, more, looked, kept))
        readings = last_readings(spans, len(text))
        assert [s.call for s, start, stop in readings for _ in range(start, stop)] == text


def span_of(call: int, written: int, output: int, looked: int, kept: int) -> Span:
    times = (0, 0, 0, 0, 0)
    plain = Span(call, "z", "e", call, (), written, *times, 1, 0, output, "length")
    return replace(plain, checked_tokens=looked, kept_tokens=kept)


# how much stands


def of_z(tokens: int) -> CheckedText:
    return CheckedText("z", 1, 0, tokens, (4,), (8,), "rebuild")


def test_as_much_stands_as_the_rate_says() -> None:
    kept = [EvenAcceptance(0.9, seed).kept_tokens(of_z(1000)) for seed in range(4000)]
    assert np.mean(kept) == pytest.approx(9, rel=0.06)
    assert EvenAcceptance(1.0).kept_tokens(of_z(10)) == 10
    assert EvenAcceptance(0.0).kept_tokens(of_z(10)) == 0
    assert max(EvenAcceptance(0.9, seed).kept_tokens(of_z(5)) for seed in range(100)) == 5


def test_a_rate_is_a_share() -> None:
    with pytest.raises(WorkloadError, match="must be from 0 to 1"):
        EvenAcceptance(1.5)


def test_a_simulation_says_what_it_would_have_to_know() -> None:
    with pytest.raises(WorkloadError, match=r"give workload\.acceptance"):
        simulate(
            MOA,
            checked(MOA, None),
            dict.fromkeys(MOA.engines, ENDPOINT),
            Workload([shape(None, **LENGTHS)]),
        )


def test_what_thinks_is_not_checked() -> None:
    request = replace(shape(EvenAcceptance(1.0), **LENGTHS), thinking_tokens={"z": 3})
    engines = dict.fromkeys(MOA.engines, ENDPOINT)
    with pytest.raises(WorkloadError, match="'z' thinks before it answers"):
        simulate(MOA, checked(MOA, None), engines, Workload([request]))


# who cannot


@pytest.mark.parametrize(
    ("pipeline", "options", "message"),
    [
        (MOA, {"layout": "append_rounds"}, "must be rebuild or rebuild_query_first"),
        (MOA, {"checked": -1}, "checked is -1, must be from 0"),
        (MOA, {"show": "never"}, "show 'never': must be settled or at_once"),
        (debate(["a", "b"], 2), {}, None),
        (
            Pipeline(
                (
                    Agent("a"),
                    Agent("b"),
                    Agent("v", reads=("a", "b"), vote=Vote(), max_tokens=10),
                    Agent("z", reads=("v",)),
                ),
                "z",
            ),
            {},
            "checked: is not for pipelines with votes",
        ),
        (
            Pipeline(
                (Agent("a", reads=("b",), peers=("b",)), Agent("b"), Agent("z", reads=("a",))), "z"
            ),
            {},
            "checked: is not for pipelines with peers",
        ),
    ],
)
def test_what_can_be_checked(
    pipeline: Pipeline, options: dict[str, Any], message: str | None
) -> None:
    plain = {"layout": "rebuild", "checked": None, **options}
    if message is None:
        Schedule(**plain).check(pipeline)
        return
    with pytest.raises(ScheduleError, match=message):
        Schedule(**plain).check(pipeline)


def test_words() -> None:
    assert (parse_checked("all"), parse_checked("12"), parse_checked("0")) == (None, 12, 0)
    with pytest.raises(ScheduleError, match="checked 'some': give all, or a number of tokens"):
        parse_checked("some")
    assert describe_schedule(checked(MOA, None)).startswith("rebuild, checked until all is read")
    words = describe_schedule(checked(MOA, 30, show="at_once"))
    assert words.startswith("rebuild, checked until 30 read, shown at once, read/write 4/6")


def test_who_has_no_form_for_checks_says_so() -> None:
    workload = Workload([shape(EvenAcceptance(1.0), **LENGTHS)])
    assert play_compiled(MOA, checked(MOA, None), {}, workload) is None
    with pytest.raises(ScheduleError, match="nothing checked"):
        closed_form(MOA, checked(MOA, None), {}, workload.requests[0])


# the search


def test_checks_are_searched_in_layouts_that_have_them() -> None:
    spec = PlanSpec(
        layouts=["append_rounds", "rebuild"],
        first=[4],
        chunk=[4],
        write=[4],
        ratio=[2.0],
        checked=[0, 8, "all"],
        show=["settled", "at_once"],
    )
    space = Space(MOA, spec)
    found = [space.schedule(point) for point in space if point["family"] != "normal"]
    kinds = {(s.layout, s.checked, s.show) for s in found}
    assert kinds == {
        ("append_rounds", 0, "settled"),
        ("rebuild", 0, "settled"),
        *(("rebuild", level, show) for level in (8, None) for show in ("settled", "at_once")),
    }
    around = {v.parameter for v in neighbours_of(checked(MOA, None), spec, MOA)}
    assert {"checked", "show"} <= around
    layouts = {v.schedule.layout for v in neighbours_of(checked(MOA, None), spec, MOA)}
    assert layouts == {"rebuild"}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"show": ["at_once"]}, "show has no effect where nothing is checked"),
        ({"checked": ["all"], "layouts": ["append_rounds"]}, "checked needs one of the layouts"),
    ],
)
def test_what_has_no_effect_in_a_search(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlanSpec.model_validate(plan)


def test_nothing_is_taken_back_where_nothing_is_checked() -> None:
    with pytest.raises(PlanError, match="'retracted': nothing is taken back here"):
        Goals.of(PlanSpec(limits={"retracted": 3.0}), knows_quality=False)
    spec = PlanSpec(limits={"retracted": 3.0}, layouts=["rebuild"], checked=["all"])
    assert "retracted" in str(Goals.of(spec, knows_quality=False).limits)


def test_the_sentence_says_what_is_taken_back() -> None:
    figures = {"smooth_start_s": Summary.of(1.0), "e2e_s": Summary.of(2.0)}
    early = {**figures, "smooth_start_s": Summary.of(0.1)}
    words = [
        ReaderGain.of(5.3, figures, {**early, **more}, ()).sentence
        for more in ({}, {"retracted_tokens": Summary.of(21.3)})
    ]
    assert words[1] == f"{words[0]} 21.3 tokens that were shown are taken back on average."


def test_scenarios_whose_engines_cannot_check_say_so() -> None:
    remote = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    with pytest.raises((ScenarioError, ValueError), match="what a check costs at a server"):
        Scenario.model_validate(
            {
                "name": "x",
                "pipeline": {"moa": {"layers": [["a"]], "answer": "z"}},
                "engines": {"a": remote, "z": remote},
                "plan": {"checked": ["all"]},
            }
        )


# real engines


def texts(
    backend: TransformersBackend | BatchingBackend, pipeline: Pipeline, schedule: Schedule
) -> dict[str, list[int]]:
    lengths = {agent.name: 25 + 5 * place for place, agent in enumerate(pipeline)}
    agents = tuple(replace(agent, max_tokens=lengths[agent.name]) for agent in pipeline)
    played = backend.play(replace(pipeline, agents=agents), schedule, lengths)
    assert played.timeline.error is None
    return {name: list(ids) for name, ids in played.ids.items()}


@pytest.mark.parametrize("pipeline", [MOA, TWO_LAYERS], ids=["moa", "two layers"])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.7, seed=3)])
@pytest.mark.parametrize("kind", [TransformersBackend, BatchingBackend])
def test_texts_that_are_checked_until_all_is_read_are_those_of_full_reading(
    kind: Any, sampling: Sampling, pipeline: Pipeline
) -> None:
    backend = kind(sampling)
    whole = texts(backend, pipeline, uniform(pipeline, normal(), "rebuild"))
    assert texts(backend, pipeline, checked(pipeline, None)) == whole
    assert texts(backend, pipeline, checked(pipeline, None, show="at_once")) == whole
    assert texts(backend, pipeline, uniform(pipeline, constant(4, 5, 6), "rebuild")) != whole


def told(schedule: Schedule) -> tuple[list[list[int]], list[int]]:
    """What somebody hears of the answer while it is written, and what it is in the end."""
    heard = list[list[int]]()

    def on_token(job: int, agent: str, ids: Sequence[int]) -> None:
        if agent == "z":
            heard.append(list(ids))

    served = {name: ServedModel(RecallingEngine(20, 0.004), FORM) for name in "abc"}
    served["z"] = ServedModel(RecallingEngine(30, 0.004), FORM)
    runtime = Runtime(served)
    outcome = runtime.run([Job(MOA, schedule, Question("why?"))], on_token=on_token)[0]
    assert outcome.timeline.error is None
    return heard, list(outcome.ids["z"])


def test_who_listens_hears_what_is_settled() -> None:
    """C1: each time what was heard before, and more of it."""
    heard, whole = told(checked(MOA, None))
    for before, after in zip(heard, [*heard[1:], whole], strict=True):
        assert after[: len(before)] == before


def test_who_is_shown_all_at_once_hears_what_falls() -> None:
    heard, whole = told(checked(MOA, None, show="at_once"))
    assert heard[-1] == whole
    assert any(after[: len(before)] != before for before, after in pairwise(heard))


def test_an_engine_that_would_write_again_is_refused() -> None:
    engine = ScriptedEngine(5)
    served = dict.fromkeys(MOA.engines, ServedModel(engine, FORM, checks_texts=False))
    with pytest.raises(ScheduleError, match="'z' would write again"):
        Runtime(served).run([Job(MOA, checked(MOA, None), Question("why?"))])


class Ending(ScriptedEngine):
    """Ends its text after one token less each time."""

    def submit(self, call: EngineCall, listener: Any) -> None:
        self._length = max(self._length - 1, 1)
        super().submit(call, listener)


def test_a_text_that_ends_while_it_is_checked_falls_from_there() -> None:
    served = {agent.name: ServedModel(ScriptedEngine(20), FORM) for agent in MOA}
    served["z"] = ServedModel(Ending(6), FORM)
    outcome = Runtime(served).run([Job(MOA, checked(MOA, None), Question("why?"))])[0]
    spans = [span for span in outcome.timeline.spans if span.agent == "z"]
    last = spans[-1]
    assert last.reason == "stop"
    assert last.kept_tokens < last.checked_tokens
    assert len(outcome.ids["z"]) == outcome.timeline.written["z"] == last.kept_tokens


# prompts


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=6), st.data())
def test_the_end_of_a_prompt_is_cut_off(parts: list[tuple[str, int]], data: st.DataObject) -> None:
    places, segments = dict.fromkeys("abc", 0), list[Segment]()
    for source, tokens in parts:
        segments.append(Segment(source, places[source], places[source] + tokens))
        places[source] += tokens
    prompt = Prompt(tuple(segments))
    cut = data.draw(st.integers(0, prompt.tokens))
    flat = [(s.source, place) for s in segments for place in range(s.start, s.stop)]
    left = prompt.without_end(cut)
    found = [(s.source, place) for s in left.segments for place in range(s.start, s.stop)]
    assert found == flat[: len(flat) - cut]
