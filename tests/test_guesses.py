"""Guesses change no token: what is kept of them is what would have been written without."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chisquare

from executor.draws import TextPosition
from executor.engine import EngineCall, Key
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.guesses import Guesses, agreed
from executor.inprocess.models import LoadedModel
from executor.inprocess.prompt_lookup import GrowingText, PromptLookup
from executor.inprocess.sampling import GREEDY, Chooser, Sampling
from executor.inprocess.slots import STEP_TOKENS
from executor.inprocess.transformers_engine import TransformersEngine
from executor.opened_engines import open_engines, read_dataset
from executor.prefix import common_prefix
from executor.runtime import Job
from planner.tables.engine_table import describe_engines
from planner.tables.metrics_table import figures_of
from staircase import Schedule, constant, moa
from staircase.errors import ModelError
from staircase.metrics.measured import measure_all
from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.spec.scenario import Scenario, load_scenario
from staircase.spec.strict import changed_spec
from tests.support.backends import VOCABULARY, SimulatedBackend, TransformersBackend, random_model
from tests.support.smollm2 import needs_smollm2
from tests.test_cli import DEMO, ROOT
from tests.test_kv_reuse import greedy
from tests.test_sampling import AnyEngine
from tests.test_slots import HandDevice, Plan, Recorder, plans, play

MODEL = random_model("llama", seed=7)
LOOKUP = PromptLookup(tokens=6, ngram=3, min_ngram=1)
WARM = Sampling(temperature=2.0, seed=11)
TOKENS = st.integers(0, VOCABULARY - 1)
# Of few kinds, so that much of a text was there before.
FEW = st.integers(0, 3)


# what is looked up


def obvious(text: Sequence[int], ngram: int, min_ngram: int, most: int) -> list[int]:
    """By looking through the whole text, from its end, for the longest n-gram first."""
    for size in range(min(ngram, len(text)), min_ngram - 1, -1):
        for stop in range(len(text) - 1, size - 1, -1):
            if text[stop - size : stop] == text[len(text) - size :]:
                rest = list(text[stop:])
                return (rest * (most // len(rest) + 1))[:most]
    return []


@given(
    st.lists(FEW, max_size=40),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(0, 9),
    st.integers(0, 40),
)
def test_a_guess_is_what_followed_the_longest_ending_last(
    text: list[int], min_ngram: int, more: int, most: int, cut: int
) -> None:
    growing = GrowingText(min_ngram + more, min_ngram, text[:cut])
    for token in text[cut:]:
        growing.extend([token])
    assert growing.guess(most) == obvious(text, min_ngram + more, min_ngram, most)


@pytest.mark.parametrize(
    ("text", "guess"),
    [([], []), ([1, 2, 3], []), ([1, 2, 3, 1], []), ([1, 2, 3, 1, 2], [3, 1, 2, 3])],
)
def test_nothing_is_guessed_after_what_is_new(text: list[int], guess: list[int]) -> None:
    assert GrowingText(3, 2, text).guess(4) == guess


def test_a_token_costs_microseconds_however_long_the_text_is() -> None:
    drawn = np.random.default_rng(0).integers(0, 50_000, 32_000).tolist()
    text = GrowingText(3, 1, drawn)
    started = time.perf_counter()
    for token in drawn[:1000]:
        text.extend([token])
        assert text.guess(8)
    assert time.perf_counter() - started < 0.2


# calls


Make = Callable[[LoadedModel, HandDevice, Sampling, PromptLookup | None], AnyEngine]


def slots(count: int, budget: int, is_static: bool) -> Make:
    return lambda model, device, sampling, lookup: BatchingEngine(
        model, device, count, budget, is_static, sampling, lookup
    )


KINDS: dict[str, Make] = {
    "serial": TransformersEngine,
    "slots": slots(3, 2048, is_static=False),
    "static": slots(3, 2048, is_static=True),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@dataclass(frozen=True)
class Turns:
    """An engine whose turns the test takes."""

    engine: AnyEngine
    device: HandDevice

    @staticmethod
    def of(
        kind: str = "serial",
        sampling: Sampling = GREEDY,
        lookup: PromptLookup | None = None,
        model: LoadedModel = MODEL,
    ) -> Turns:
        device = HandDevice()
        return Turns(KINDS[kind](model, device, sampling, lookup), device)

    def play(self, *calls: EngineCall, recorder: Recorder | None = None) -> Recorder:
        """All at once."""
        recorder = recorder or Recorder()
        for call in calls:
            self.engine.submit(call, recorder)
        while self.device.step(self.engine):
            pass
        assert recorder.reports.keys() >= {call.key for call in calls}
        return recorder

    def written(self, *calls: EngineCall) -> dict[Key, list[int]]:
        recorder = self.play(*calls)
        assert all(report.error is None for report in recorder.reports.values())
        return recorder.tokens


def call(number: int, prompt: Sequence[int], tokens: int, guess: Sequence[int] = ()) -> EngineCall:
    return EngineCall((0, number), prompt, tokens, text=f"0/{number}", guess=guess)


prompts = st.lists(st.one_of(FEW, TOKENS), min_size=1, max_size=30)


@every_kind
@pytest.mark.parametrize("sampling", [GREEDY, WARM, Sampling(0.5, seed=3, top_k=5)])
@settings(max_examples=8)
@given(st.lists(st.tuples(prompts, st.integers(1, 24)), min_size=1, max_size=4), st.data())
def test_a_text_does_not_depend_on_guesses(
    kind: str, sampling: Sampling, asked: list[tuple[list[int], int]], data: st.DataObject
) -> None:
    calls = [call(number, *one) for number, one in enumerate(asked)]
    alone = Turns.of(sampling=sampling).written(*calls)
    guessing = [replace(one, guess=data.draw(guesses_of(alone[one.key]))) for one in calls]
    for lookup in (None, LOOKUP, PromptLookup(1, 1, 1)):
        assert Turns.of(kind, sampling, lookup).written(*guessing) == alone


@st.composite
def guesses_of(draw: st.DrawFn, text: list[int]) -> list[int]:
    """Right up to somewhere, with tokens that are none, and longer than what is written."""
    right = text[: draw(st.integers(0, len(text)))]
    return right + draw(st.lists(st.integers(-2, VOCABULARY + 2), max_size=8))


@settings(max_examples=25)
@given(plans(), st.sampled_from([5, 16, 2048]), st.booleans(), st.data())
def test_calls_that_come_and_go_write_what_they_would_alone(
    asked: list[Plan], budget: int, is_static: bool, data: st.DataObject
) -> None:
    alone = [Turns.of().written(call(0, one.prompt, one.max_tokens))[0, 0] for one in asked]
    guessing = [
        replace(one, guess=data.draw(guesses_of(text)))
        for one, text in zip(asked, alone, strict=True)
    ]
    device = HandDevice()
    engine = BatchingEngine(MODEL, device, 3, budget, is_static, lookup=LOOKUP)
    recorder = play(engine, device, guessing)
    assert engine.is_idle
    for number, text in enumerate(alone):
        found = recorder.tokens.get((0, number), [])
        assert recorder.reports[0, number].error is None
        assert found == text[: len(found)]
        assert found == text or recorder.reports[0, number].reason == "cancelled"


@pytest.mark.parametrize("kind", ["slots", "static"])
def test_a_short_guess_beside_a_long_one_needs_no_room_of_its_own(kind: str) -> None:
    """One text fills its slot to the last position."""
    every = list(range(VOCABULARY)) * 3
    last, long = call(0, every[: STEP_TOKENS - 6], 6), call(1, every[:VOCABULARY], 30)
    found = Turns.of(kind, lookup=PromptLookup(16, 1, 1)).written(last, long)
    assert found == Turns.of().written(last, long)


@every_kind
class TestWhatACallSays:
    PROMPT: Sequence[int] = (5, 6, 7)
    TEXT = greedy(MODEL, PROMPT, 12)

    @pytest.mark.parametrize(
        ("right", "wrong", "passes"),
        [
            (0, [], 12),
            (11, [], 1),
            # The last token may be said, too, and more.
            (12, [1, 2, 3], 1),
            (5, [], 7),
            (0, [VOCABULARY], 12),
            (5, [-1], 7),
        ],
    )
    def test_costs_one_pass_as_far_as_it_is_right(
        self, kind: str, right: int, wrong: list[int], passes: int
    ) -> None:
        found = Turns.of(kind).play(call(0, self.PROMPT, 12, [*self.TEXT[:right], *wrong]))
        report = found.reports[0, 0]
        assert found.tokens[0, 0] == self.TEXT
        assert (report.passes, report.guessed_tokens) == (passes, 12 - passes)
        assert report.reason == "length"

    def test_is_checked_in_parts_where_it_is_long(
        self, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("executor.inprocess.guesses.MOST_AT_ONCE", 4)
        found = Turns.of(kind).play(call(0, self.PROMPT, 12, self.TEXT))
        assert found.tokens[0, 0] == self.TEXT
        assert found.reports[0, 0].passes == 3

    def test_one_that_is_wrong_is_all_that_it_costs(self, kind: str) -> None:
        wrong = [(self.TEXT[0] + 1) % VOCABULARY, *self.TEXT[1:]]
        found = Turns.of(kind).play(call(0, self.PROMPT, 12, wrong))
        assert found.tokens[0, 0] == self.TEXT
        assert found.reports[0, 0].passes == 12

    def test_is_looked_up_after_it_went_wrong(self, kind: str) -> None:
        """As text that is there, though no prompt says it."""
        plain = replace(MODEL, network=random_model("llama", seed=3).network)
        prompt = [9, 8, 7, 6]
        text = greedy(plain, prompt, 20)
        wrong = (text[0] + 1) % VOCABULARY
        passes = [
            Turns.of(kind, lookup=LOOKUP, model=plain)
            .play(call(0, prompt, 20, guess))
            .reports[0, 0]
            .passes
            for guess in ([], [wrong, *text])
        ]
        assert passes[1] < passes[0]

    @pytest.mark.parametrize("lookup", [None, LOOKUP])
    def test_may_hold_the_end(self, kind: str, lookup: PromptLookup | None) -> None:
        """In the middle of what is right; what stands after it is not told."""
        last = next(n for n in range(1, 12) if self.TEXT[n] not in self.TEXT[:n])
        ending = replace(MODEL, end_ids=frozenset([self.TEXT[last]]))
        turns = Turns.of(kind, lookup=lookup, model=ending)
        found = turns.play(call(0, self.PROMPT, 12, self.TEXT))
        assert found.tokens[0, 0] == self.TEXT[:last]
        assert found.reports[0, 0].reason == "stop"
        going_on = replace(call(1, self.PROMPT, 12, self.TEXT), ignore_end=True)
        assert turns.play(going_on).tokens[0, 1] == self.TEXT

    def test_is_in_the_cache_as_far_as_it_was_right(self, kind: str) -> None:
        turns = Turns.of(kind)
        wrong = (self.TEXT[4] + 1) % VOCABULARY
        turns.play(call(0, self.PROMPT, 5, [*self.TEXT[:4], wrong, 3, 3]))
        prompt = [*self.PROMPT, *self.TEXT[:5], 9]
        found = turns.play(call(1, prompt, 6))
        assert found.reports[0, 1].cached_tokens == len(prompt) - 2
        assert found.tokens[0, 1] == greedy(MODEL, prompt, 6)


@every_kind
@pytest.mark.parametrize("lookup", [None, LOOKUP])
def test_who_cancels_hears_no_more_of_a_burst(kind: str, lookup: PromptLookup | None) -> None:
    text = greedy(MODEL, [5, 6, 7], 12)
    turns = Turns.of(kind, lookup=lookup)

    class Leaving(Recorder):
        def on_token(self, key: Key, token: int, time_ns: int) -> None:
            super().on_token(key, token, time_ns)
            if len(self.tokens[key]) == 3:
                turns.engine.cancel(key)

    heard = turns.play(call(0, [5, 6, 7], 12, text), recorder=Leaving())
    assert heard.tokens[0, 0] == text[:3]
    assert heard.reports[0, 0].reason == "cancelled"
    # Also not of the same name later.
    assert turns.play(call(0, [5, 6, 7], 12)).tokens[0, 0] == text


@every_kind
def test_a_listener_that_fails_in_a_burst_ends_its_call(kind: str) -> None:
    class Failing(Recorder):
        def on_token(self, key: Key, token: int, time_ns: int) -> None:
            super().on_token(key, token, time_ns)
            raise ValueError("enough")

    text = greedy(MODEL, [5, 6, 7], 12)
    heard = Turns.of(kind).play(call(0, [5, 6, 7], 12, text), recorder=Failing())
    assert heard.order == [(0, 0)]
    assert heard.reports[0, 0].error == "ValueError: enough"


@pytest.mark.parametrize("guess", [[], [8, 9]])
def test_nothing_is_guessed_where_passes_are_measured(guess: list[int]) -> None:
    asked = call(0, [1, 2, 3, 1, 2, 3], 9, guess)
    assert Guesses(asked, LOOKUP, VOCABULARY).next(5) == (guess or [1, 2, 3, 1, 2])
    asked = replace(asked, is_measured=True)
    assert Guesses(asked, LOOKUP, VOCABULARY).next(5) == []


@every_kind
def test_passes_are_as_wide_as_they_are_measured(kind: str) -> None:
    """But for the last ones, after which nothing is left to write."""
    widths = list[int]()
    turns = Turns.of(kind, lookup=LOOKUP)
    original = Guesses.next

    def noted(self: Guesses, most: int) -> list[int]:
        found = original(self, most)
        widths.append(len(found) + 1)
        return found

    asked = replace(call(0, [5, 6, 7], 9), is_measured=True, pass_tokens=4, ignore_end=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guesses, "next", noted)
        found = turns.play(asked)
    report = found.reports[0, 0]
    assert found.tokens[0, 0] == greedy(MODEL, [5, 6, 7], 9)
    assert report.passes + report.guessed_tokens == 9
    assert widths[0] == 4
    assert set(widths) <= {1, 2, 3, 4}


def test_a_cache_that_cannot_be_cut_is_told() -> None:
    model = random_model("qwen3", seed=7)
    model.network.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ModelError, match="prompt_lookup: qwen3 has layers with linear_attention"):
        Turns.of(lookup=LOOKUP, model=model)


# distributions


Keeping = Callable[[Chooser, torch.Tensor, list[TextPosition], list[int]], list[int]]


def keeping_all(
    chooser: Chooser, left: torch.Tensor, places: list[TextPosition], guess: list[int]
) -> list[int]:
    """What ``agreed`` must not do."""
    return [*guess, *chooser.tokens(left[-1:], places[-1:])]


def p_value(keep: Keeping) -> float:
    """Of the first tokens of 20,000 texts, all guessed to begin with the likeliest token."""
    scores = [1.0, 0.2, -0.5, 1.7]
    chooser = Chooser(Sampling(1.0, seed=5))
    left = chooser.in_pass(torch.tensor([scores, [0.0] * 4]))
    places = ([TextPosition(f"{number}/a", n) for n in range(2)] for number in range(20_000))
    seen = np.bincount([keep(chooser, left, two, [3])[0] for two in places], minlength=4)
    weights = np.exp(scores)
    return float(chisquare(seen, weights / weights.sum() * seen.sum()).pvalue)


@pytest.mark.slow
def test_sampled_tokens_are_distributed_as_without_guesses() -> None:
    assert p_value(agreed) > 0.01
    # The same test finds guesses that are kept whatever is drawn.
    assert p_value(keeping_all) < 0.01


# requests


Texts = list[Mapping[str, Sequence[int]]]


def texts_of(
    scenario: Scenario, folder: Path, schedule: Schedule, count: int, lookup: object, slots: int
) -> Texts:
    """What ``count`` requests write on engines with ``slots``, all in this process."""
    changes = {"device": "cpu", "slots": slots, "prompt_lookup": lookup}
    engines = {name: changed_spec(name, one, changes) for name, one in scenario.real.items()}
    scenario = scenario.model_copy(update={"engines": engines})
    pipeline = scenario.pipeline.build()
    jobs = [Job(pipeline, schedule, one) for one in read_dataset(scenario, folder, count, 0)]
    with open_engines(scenario) as opened:
        outcomes = opened.runtime.run(jobs, concurrency=slots)
    spans = [span for one in outcomes for span in one.timeline.spans]
    assert any(span.guessed_tokens for span in spans) == bool(lookup)
    return [{agent.name: one.ids[agent.name] for agent in pipeline} for one in outcomes]


def agree(one: Texts, other: Texts, answer: str) -> bool:
    """Drafts may be cut off at other places, as nobody needs more when the answer is there."""
    pairs = [
        (name, list(text), list(others[name]))
        for some, others in zip(one, other, strict=True)
        for name, text in some.items()
    ]
    return all(
        common_prefix(*both) == (max if name == answer else min)(map(len, both))
        for name, *both in pairs
    )


SMALL = {"tokens": 6, "ngram": 2}
STAIRS = Schedule({"editor": constant(16, 16, 24)})


@pytest.mark.parametrize("count", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_embedded_texts_are_the_same(count: int) -> None:
    """``python -m benchmarks.same_texts`` looks at 200."""
    scenario = load_scenario(DEMO)
    plain = texts_of(scenario, DEMO.parent, STAIRS, count, None, 12)
    for slots, lookup in ((1, True), (12, True), (12, SMALL)):
        found = texts_of(scenario, DEMO.parent, STAIRS, count, lookup, slots)
        assert agree(found, plain, "editor")


@pytest.mark.slow
def test_sampled_embedded_texts_are_the_same() -> None:
    scenario = load_scenario(DEMO)
    warm = {"temperature": 0.7, "top_p": 0.9}
    engines = {name: changed_spec(name, one, warm) for name, one in scenario.real.items()}
    scenario = scenario.model_copy(update={"engines": engines})
    plain = texts_of(scenario, DEMO.parent, Schedule(), 12, None, 12)
    for slots in (1, 12):
        assert texts_of(scenario, DEMO.parent, Schedule(), 12, SMALL, slots) == plain


@pytest.mark.slow
@needs_smollm2
def test_texts_of_a_real_model_are_the_same() -> None:
    """Three drafts that are sampled and a greedy editor; ``benchmarks.same_texts`` has more."""
    path = ROOT / "examples" / "smollm2.yaml"
    scenario = load_scenario(path)
    agents = {name: {"max_tokens": 16} for name in scenario.pipeline.agents}
    pipeline = changed_spec("pipeline", scenario.pipeline, {"agents": agents})
    scenario = scenario.model_copy(update={"pipeline": pipeline})
    plain = texts_of(scenario, path.parent, Schedule(), 2, None, 2)
    for slots in (1, 2):
        assert texts_of(scenario, path.parent, Schedule(), 2, SMALL, slots) == plain


# what users see


@pytest.mark.slow
def test_tokens_a_pass_are_a_figure_of_runs() -> None:
    counts = []
    for lookup in (None, LOOKUP):
        played = TransformersBackend(lookup=lookup).play(
            moa([["a", "b"]], "z"), Schedule(), {"a": 20, "b": 20, "z": 20}
        )
        spans = played.timeline.spans
        found = measure_all([played.timeline]).summaries()
        counts.append(found["tokens_per_pass"].mean)
        written = sum(span.output_tokens for span in spans)
        assert counts[-1] == pytest.approx(written / sum(span.passes for span in spans))
        assert ("tokens_per_pass" in figures_of(found)) == bool(lookup)
    assert counts[0] == 1 < counts[1]


def test_no_pass_is_counted_of_simulated_engines() -> None:
    line = SimulatedBackend().play(moa([["a"]], "z"), Schedule(), {"a": 5, "z": 5}).timeline
    assert "tokens_per_pass" not in measure_all([line]).summaries()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (True, "12 after the last 3"),
        ({"tokens": 4, "ngram": 2}, "4 after the last 2"),
        ({"min_ngram": 1}, "12 after the last 1 to 3"),
        (False, ""),
    ],
)
def test_engines_are_shown_with_what_they_look_up(said: object, shown: str) -> None:
    content = {
        "name": "x",
        "pipeline": {"single": "a"},
        "engines": {"a": {"model": "embedded", "prompt_lookup": said}},
    }
    (found,) = describe_engines(Scenario.model_validate(content))
    assert found.guesses == shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokns": 3}, "unknown key 'tokns'; did you mean 'tokens'"),
        ({"ngram": 2, "min_ngram": 3}, "min_ngram must not be above ngram, 2"),
        ({"tokens": 0}, "greater than or equal to 1"),
        (3, "must be a mapping with keys tokens, ngram, min_ngram"),
    ],
)
def test_wrong_options_are_told(options: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EngineSpec.model_validate({"model": "embedded", "prompt_lookup": options})


def test_of_a_server_it_is_asked_at_the_server() -> None:
    server = {"kind": "openai", "base_url": "http://x/v1", "model": "m", "prompt_lookup": True}
    with pytest.raises(ValidationError, match="prompt_lookup is for engines in this process"):
        OpenAISpec.model_validate(server)
