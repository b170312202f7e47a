"""Forecasts that know of guesses: what passes cost, how many tokens they give, and what is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.engine import EngineCall
from executor.measure.guessed_passes import END, passes_of
from executor.opened_engines import open_engines, read_dataset
from executor.runtime import Job
from planner import profile as measure
from planner.profiling.guess_counting import pass_counter
from planner.profiling.lookups import lookup_specs
from planner.profiling.profile_warnings import pass_notes, text_notes
from planner.profiling.profile_words import latency_lines
from planner.tables.guess_table import guess_table
from planner.workspace import Workspace
from profiles.guessed_passes import GuessedTexts, Pass, TextPace, texts_of, together
from profiles.latency.points import WidePoint
from profiles.latency.profile import (
    EngineProfile,
    fit_engine,
    load_latency,
    save_latency,
)
from profiles.lengths import load_lengths, save_lengths
from simulator.compiled.play import play_compiled
from simulator.des.batching import BatchingSetup
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.profiled import setup_of_profile
from simulator.run import run_workload
from staircase import Schedule, constant, single, uniform
from staircase.prompt import query
from staircase.spec.engine_spec import EngineSpec
from staircase.spec.scenario import load_scenario
from staircase.spec.strict import changed_spec
from staircase.workload import RequestShape, Workload
from tests.support.backends import VOCABULARY
from tests.test_cli import DEMO
from tests.test_guesses import FEW, LOOKUP, Turns, call
from tests.test_profiled import PIPELINE, profile, request

SHORT = {"tokens": 6, "ngram": 2, "min_ngram": 1}
RATIOS = {2: 1.2, 7: 1.5, 13: 2.0}
SERIAL, SLOTS = EngineSpec(model="embedded"), EngineSpec(model="embedded", slots=4)


def guessing_profile(ratios: dict[int, float] = RATIOS) -> EngineProfile:
    plain = profile()
    wide = [
        WidePoint(w, b, 100 * b, ratio * plain.decode_s(b, 100 * b), 0.01, 1.0)
        for w, ratio in ratios.items()
        for b in (1, 4)
    ]
    return fit_engine(plain.prefill_points, plain.decode_points, 0.0, (), wide)


PASSES = st.integers(1, 13).flatmap(lambda w: st.builds(Pass, st.just(w), st.integers(1, w)))
TEXTS = st.lists(st.lists(PASSES, min_size=1, max_size=30).map(tuple), min_size=1, max_size=4).map(
    lambda texts: GuessedTexts(tuple(texts))
)


class TestPasses:
    @pytest.mark.parametrize("kind", ["serial", "slots"])
    @settings(max_examples=30)
    @given(st.lists(FEW, min_size=1, max_size=30), st.integers(1, 24), st.booleans())
    def test_are_those_of_the_engine(
        self, kind: str, prompt: list[int], tokens: int, ends: bool
    ) -> None:
        model = Turns.of().engine._model
        text = Turns.of().written(call(0, prompt, tokens))[0, 0]
        if ends:
            model = replace(model, end_ids=frozenset([text[-1]]))
        played = Turns.of(kind, lookup=LOOKUP, model=model).play(call(0, prompt, tokens))
        report, written = played.reports[0, 0], played.tokens.get((0, 0), [])
        ended = [END] if report.reason == "stop" else []
        asked = EngineCall((0, 0), prompt, tokens)
        found = list(passes_of(asked, [*written, *ended], LOOKUP, VOCABULARY))
        assert sum(one.given for one in found) == len(written) + len(ended)
        assert len(found) == report.passes

    @given(TEXTS)
    def test_take_as_long_by_position_as_in_all(self, texts: GuessedTexts) -> None:
        """Of the very texts."""
        pace, places = texts.pace(float), list[int]()
        for text in texts.texts:
            places += range(1, sum(one.given for one in text))
        assert len(places) == texts.decoded_tokens
        spent = sum(one.computed for one in texts.passes)
        assert sum(map(pace.at, places)) == pytest.approx(spent)
        if places:
            assert texts.factor(float) * len(places) == pytest.approx(spent)

    def test_are_counted_by_where_they_begin(self) -> None:
        text = (Pass(1, 1), *[Pass(13, 3)] * 50, *[Pass(1, 1)] * 150)
        found = GuessedTexts((text, text))
        assert found.tokens_a_pass().mean == 1.5
        assert found.tokens_a_pass(1, 151).mean == 3
        assert found.tokens_a_pass(151).mean == 1
        rows = list(found.by_position())
        assert [row[0] for row in rows[1:]] == [row[1] for row in rows[:-1]]
        assert (rows[0][0], rows[-1][1]) == (0, 301)
        assert (rows[0][2].mean, rows[-1][2].mean) == (3, 1)
        assert found.mean_width == 4
        assert "3.00" in "".join(str(cell) for cell in guess_table({"a": found}).columns[2].cells)

    def test_nothing_is_known_of_a_text_of_one_token(self) -> None:
        found = GuessedTexts(((Pass(13, 1),),))
        assert found.factor(float) == 1
        assert found.pace(float) == TextPace()
        assert list(found.by_position()) == []


# forecasts


def text_in(passes: Sequence[Pass]) -> GuessedTexts:
    return GuessedTexts((tuple(passes),))


def decode_ps(setup: SerialSetup | BatchingSetup, tokens: int) -> int:
    """From the first token of a text to its last."""
    fixed = {query("model"): 20}
    workload = Workload([RequestShape(fixed, {"model": tokens}, "length")])
    line = simulate(single(), Schedule(), {"model": setup}, workload)[0]
    return line.answer_ps[-1] - line.answer_ps[0]


@pytest.mark.parametrize("spec", [SERIAL, SLOTS])
@settings(max_examples=20)
@given(st.lists(PASSES, min_size=2, max_size=20))
def test_a_text_takes_what_its_passes_take(spec: EngineSpec, passes: list[Pass]) -> None:
    found, text = guessing_profile(), text_in(passes)
    # Context is of no weight, so it does not matter when the passes were.
    assert found.decode.coefficients[2] < 1e-9
    setup = setup_of_profile(found, spec, "model", {"model": text})
    took_ps = decode_ps(setup, 1 + text.decoded_tokens)
    each = sum(found.pass_ratio(one.computed) for one in text.passes)
    assert took_ps == pytest.approx(each * found.decode_s(1, 20) * 1e12, rel=1e-3)


def test_each_agent_and_position_has_a_pace_of_its_own() -> None:
    """Of an engine that serves one call at a time."""
    found = guessing_profile()
    early = text_in([Pass(1, 1), *[Pass(13, 4)] * 32, *[Pass(1, 1)] * 128])
    plain = text_in([Pass(1, 1)] * 9)
    setup = setup_of_profile(found, SERIAL, "e", {"model": early, "other": plain})
    assert isinstance(setup, SerialSetup)
    assert setup.paces["model"].at(5) == pytest.approx(2.0 / 4)
    assert setup.paces["model"].at(200) == pytest.approx(1.0)
    assert setup.paces["other"].at(5) == pytest.approx(1.0)
    assert setup.mean_pace == pytest.approx(together([early, plain]).factor(found.pass_ratio))
    plain_ps = decode_ps(setup_of_profile(found, SERIAL, "e"), 65)
    assert decode_ps(setup, 65) == pytest.approx(plain_ps / 2, rel=1e-6)


def test_calls_with_a_guess_are_a_pass_of_their_own() -> None:
    """Of two that decode, half of the passes guess: one does mostly, beside the other."""
    found = guessing_profile({13: 2.0})
    half = text_in([Pass(1, 1), *[Pass(13, 3), Pass(1, 1)] * 20])
    plain, setup = (setup_of_profile(found, SLOTS, "e", texts) for texts in ({}, {"m": half}))
    assert isinstance(plain, BatchingSetup)
    assert isinstance(setup, BatchingSetup)
    one_ps, two_ps = (int(plain.cost.decode_ps[n]) for n in (1, 2))
    expected = (two_ps / 4 + (one_ps + 2 * one_ps) / 2 + 2 * two_ps / 4) / 2
    assert setup.cost.decode_ps[2] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", [Schedule(), uniform(PIPELINE, constant(4, 4, 4))])
def test_tables_are_what_is_simulated(schedule: Schedule) -> None:
    found, text = guessing_profile(), text_in([Pass(1, 1), *[Pass(13, 3), Pass(1, 1)] * 20])
    engines = {
        name: EngineSpec(model="embedded", slots=4, device=f"cpu:{n}")
        for n, name in enumerate("abz")
    }
    setups = {n: setup_of_profile(found, spec, n, {n: text}) for n, spec in engines.items()}
    workload = request(PIPELINE, 40)
    played = play_compiled(PIPELINE, schedule, setups, workload)
    assert played is not None
    run = run_workload(PIPELINE, schedule, setups, workload)
    line = simulate(PIPELINE, schedule, setups, workload)[0]
    assert run.measured.summaries()["e2e_s"].mean * 1e12 == pytest.approx(line.answer_ps[-1], abs=1)


def test_without_costs_of_passes_nothing_is_gained() -> None:
    text = text_in([Pass(1, 1), *[Pass(13, 4)] * 9])
    for spec in (SERIAL, SLOTS):
        setups = [setup_of_profile(profile(), spec, "e", texts) for texts in ({}, {"model": text})]
        assert decode_ps(setups[0], 30) == decode_ps(setups[1], 30)


# profiles


def test_passes_of_requests_are_those_that_were_made() -> None:
    """Of all agents, though nothing is asked of the engines again."""
    scenario = load_scenario(DEMO)
    engines = {n: changed_spec(n, s, {"prompt_lookup": SHORT}) for n, s in scenario.real.items()}
    scenario = scenario.model_copy(update={"engines": engines})
    pipeline = scenario.pipeline.build()
    jobs = [Job(pipeline, Schedule(), one) for one in read_dataset(scenario, DEMO.parent, 1, 0)]
    with open_engines(scenario) as opened:
        (outcome,) = opened.runtime.run(jobs)
        found = pass_counter(scenario, opened).of(outcome)
    assert found.keys() == {agent.name for agent in pipeline}
    for span in outcome.timeline.spans:
        assert len(found[span.agent]) == span.passes
        given = sum(one.given for one in found[span.agent])
        assert given == span.output_tokens + (span.reason == "stop")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The demo's models, of which one that drafts guesses; latency and lengths."""
    folder = tmp_path_factory.mktemp("guesses")
    scenario = load_scenario(DEMO)
    north = changed_spec("north", scenario.real["north"], {"prompt_lookup": SHORT})
    few = {"requests": 2, "budget_s": 12, "max_prompt_tokens": 128}
    given = scenario.model_copy(
        update={
            "engines": {**scenario.engines, "north": north},
            "profile": changed_spec("profile", scenario.profile, few),
        }
    )
    for kind in ("latency", "lengths"):
        measure(given, only=kind, out=folder)
    return Workspace(given, DEMO.parent, folder)


def without_lookup(work: Workspace) -> Workspace:
    engine = work.scenario.real["north"].model_copy(update={"prompt_lookup": None})
    engines = {**work.scenario.engines, "north": engine}
    return replace(work, scenario=work.scenario.model_copy(update={"engines": engines}))


def with_lookup(work: Workspace, lookup: object) -> Workspace:
    engine = changed_spec("north", work.scenario.real["north"], {"prompt_lookup": lookup})
    engines = {**work.scenario.engines, "north": engine}
    return replace(work, scenario=work.scenario.model_copy(update={"engines": engines}))


def notes_of(work: Workspace) -> list[str]:
    return [
        *pass_notes(work.scenario.real, work.latency().engines),
        *text_notes(lookup_specs(work.scenario), work.guessed_texts()),
    ]


def busy_ps(work: Workspace) -> dict[str, int]:
    """Forecast, by agent, where turns with others cost nothing."""
    forecaster, found = work.profile_forecaster(), Counter[str]()
    engines = {n: replace(one, contention=1.0) for n, one in forecaster.latency.engines.items()}
    forecaster = replace(forecaster, latency=replace(forecaster.latency, engines=engines))
    for line in forecaster.play(Schedule(), forecaster.workload).timelines:
        for span in line.spans:
            found[span.agent] += span.busy_ps
    return dict(found)


class TestProfiles:
    def test_know_what_guesses_cost_and_give(self, measured: Workspace, tmp_path: Path) -> None:
        engines, texts = measured.latency().engines, measured.guessed_texts()
        assert engines["north"].widest_pass == 7
        assert engines["editor"].widest_pass == 1
        assert engines["north"].pass_ratio(7) > 0.9
        assert any("passes of several tokens" in line for line in latency_lines(measured.latency()))
        assert texts.keys() == {"north"}
        assert 1 < texts["north"].tokens_a_pass().mean <= 7
        assert notes_of(measured) == []

    def test_are_the_same_when_read_again(self, measured: Workspace, tmp_path: Path) -> None:
        save_latency(tmp_path / "latency.json", measured.latency())
        assert load_latency(tmp_path / "latency.json") == measured.latency()
        save_lengths(tmp_path / "lengths.json", measured.lengths())
        found = load_lengths(tmp_path / "lengths.json")
        assert found == measured.lengths()
        assert texts_of([sample.passes for sample in found.samples]) == measured.guessed_texts()

    def test_make_forecasts_by_which_only_who_guesses_is_faster(self, measured: Workspace) -> None:
        guessing, plain = (busy_ps(work) for work in (measured, without_lookup(measured)))
        profile, texts = measured.latency()["north"], measured.guessed_texts()["north"]
        assert guessing.pop("north") / plain.pop("north") == pytest.approx(
            texts.factor(profile.pass_ratio), rel=0.15
        )
        assert guessing == plain

    def test_of_older_kinds_are_told_in_one_line(self, measured: Workspace) -> None:
        plain = replace(measured.latency()["north"], pass_ratios=(), wide_points=())
        (line,) = pass_notes(measured.scenario.real, dict.fromkeys(measured.scenario.real, plain))
        assert line.startswith("north: what passes of several tokens take is not in the profile")
        (line,) = text_notes(lookup_specs(measured.scenario), {})
        assert line.startswith("north: how many tokens a pass gives")

    def test_of_another_lookup_are_not_used(self, measured: Workspace) -> None:
        wider = with_lookup(measured, {"tokens": 16})
        assert wider.guessed_texts() == {}
        beyond, unknown = notes_of(wider)
        assert beyond.startswith("north: passes of 17 tokens, as prompt_lookup makes them")
        assert unknown.startswith("north: how many tokens a pass gives with this prompt_lookup")

    def test_without_guesses_say_nothing(self, measured: Workspace) -> None:
        assert notes_of(without_lookup(measured)) == []


def test_a_wrong_ratio_is_told() -> None:
    from profiles.latency.profile import latency_fault

    found = guessing_profile()
    wrong = replace(found.pass_ratios[0], ratio=float("nan"))
    fault = latency_fault(replace(found, pass_ratios=(wrong,)))
    assert fault
    assert fault.startswith("pass_ratios: ")
    assert latency_fault(found) is None
