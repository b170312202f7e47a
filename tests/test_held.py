"""How far a draft holds: what is written after reading part of it, beside full reading."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel, load_model
from executor.inprocess.transformers_engine import TransformersEngine
from executor.line_log import ItemLog, LineLog
from executor.measure.measure_held import SHARES, HoldProbe
from executor.prefix import common_prefix
from executor.prompts.as_read import as_read
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.scoring.prompt_scorer import PromptScorer
from executor.scoring.scoring import ModelScorer, log_probabilities
from planner.profiling.quality_profiling import why_not_held
from planner.tables.held_table import held_table
from profiles.quality.held import TIE_NATS, HeldText, held_by_share
from profiles.quality.profile import load_quality, save_quality
from profiles.store import content_hash
from staircase import Question, Schedule, moa
from staircase.pipeline import Pipeline
from staircase.prompt import Round, build_prompt
from staircase.schedule import LAYOUTS, Layout
from staircase.spec.scenario import load_scenario
from tests.support.backends import FORM
from tests.support.letter_model import LETTERS, save_letter_model
from tests.test_cli import DEMO
from tests.test_quality_profile import PROFILE

QUESTION = Question("why?")
TOKENS = 12


@dataclass(frozen=True)
class Played:
    """A request that one model of letters played in full."""

    model: LoadedModel
    engine: TransformersEngine
    runtime: Runtime
    pipeline: Pipeline
    full: Outcome

    def told(self, drafts: Sequence[Sequence[int]]) -> Outcome:
        """As if the answering agent's sources had said ``drafts`` and it had read all of them."""
        sources = self.pipeline[self.pipeline.answer].reads
        ids = {**self.full.ids, **dict(zip(sources, drafts, strict=True))}
        answer = self.obvious(ids, [len(draft) for draft in drafts], Schedule().layout)
        return replace(self.full, ids={**ids, self.pipeline.answer: answer})

    def obvious(
        self, ids: dict[str, Sequence[int]], read: Sequence[int], layout: Layout
    ) -> list[int]:
        """The answer after reading so much of each source: a whole pass for every token."""
        text = self.prompt(ids, read, layout)
        for _ in range(TOKENS):
            text.append(self.likeliest(text))
        return text[-TOKENS:]

    def prompt(
        self, ids: dict[str, Sequence[int]], read: Sequence[int], layout: Layout
    ) -> list[int]:
        agent = self.pipeline[self.pipeline.answer]
        lengths = {name: len(tokens) for name, tokens in ids.items()}
        rounds = [Round(tuple(read), 0)]
        prompt = build_prompt(agent.name, agent.reads, rounds, 0, layout, lengths)
        engines = dict.fromkeys((one.name for one in self.pipeline), self.engine)
        return [token for _, some in as_read(engines, agent.name, prompt, ids) for token in some]

    def likeliest(self, text: Sequence[int]) -> int:
        return int(log_probabilities(self.model, [*text, 0], [len(text)])[0].argmax())

    def gap(self, text: Sequence[int]) -> float:
        """In nats, from the last token to the likeliest one there."""
        row = log_probabilities(self.model, text, [len(text) - 1])[0]
        return float(row.max() - row[text[-1]])

    def probe(self, layout: Layout) -> HoldProbe:
        engines = dict.fromkeys((one.name for one in self.pipeline), self.engine)
        scorer = PromptScorer(ModelScorer(self.model), engines)
        return HoldProbe(self.pipeline, self.runtime, scorer, layout)


@pytest.fixture(scope="module", params=[[["p", "q"]], [["o"], ["p", "q"]]], ids=["two", "layers"])
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder)
    model = load_model(str(folder), "cpu", "float32")
    every = moa(request.param, answer="z")
    pipeline = Pipeline(tuple(replace(one, max_tokens=TOKENS) for one in every), every.answer)
    with Device() as device:
        engine = TransformersEngine(model, device)
        runtime = Runtime(dict.fromkeys(pipeline.engines, ServedModel(engine, FORM)))
        (full,) = runtime.run([Job(pipeline, Schedule(), QUESTION)])
        yield Played(model, engine, runtime, pipeline, full)


def log_of(folder: Path) -> ItemLog[HeldText]:
    return ItemLog(LineLog(folder / "log.jsonl", ["key"]), "key", HeldText)


LETTER = st.integers(0, len(LETTERS) - 1)
DRAFT = st.lists(LETTER, max_size=TOKENS)


@settings(max_examples=8, deadline=None)
@given(st.tuples(DRAFT, DRAFT), st.sampled_from(LAYOUTS))
def test_it_is_what_writing_token_by_token_says(
    played: Played,
    tmp_path_factory: pytest.TempPathFactory,
    drafts: tuple[list[int], list[int]],
    layout: Layout,
) -> None:
    full = played.told(drafts)
    ids, lengths = dict(full.ids), [len(draft) for draft in drafts]
    log = log_of(tmp_path_factory.mktemp("log"))
    whole, *found = played.probe(layout).measure([QUESTION], [full], log)
    assert (whole.share, whole.layout, whole.kept) == (1, Schedule().layout, TOKENS)
    assert whole.missed == ()
    fully = played.obvious(ids, lengths, layout)
    after_all = played.prompt(ids, lengths, layout)
    for share, text in zip(SHARES, found, strict=True):
        read = [math.ceil(share * length) for length in lengths]
        answer = played.obvious(ids, read, layout)
        assert (text.request, text.share, text.layout, text.written) == (0, share, layout, TOKENS)
        if not text.ties:
            assert text.kept == common_prefix(answer, fully)
        gaps = [played.gap([*after_all, *answer[: n + 1]]) for n in range(TOKENS)]
        assert list(text.missed) == [n for n, gap in enumerate(gaps) if gap > TIE_NATS]
        assert list(text.ties) == [n for n, gap in enumerate(gaps) if 0 < gap <= TIE_NATS]
        if read == lengths:
            assert text.missed == ()


def test_what_was_written_is_not_written_again(played: Played, tmp_path: Path) -> None:
    """As after kill -9, of which the log is all that is left."""
    done: list[int] = []

    def stop_after_three() -> None:
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt

    probe, asked = played.probe("rebuild"), ([QUESTION] * 2, [played.full] * 2)
    with pytest.raises(KeyboardInterrupt):
        probe.measure(*asked, log_of(tmp_path), stop_after_three)
    kept = log_of(tmp_path)
    assert len(kept) == 2 + 3
    written = len((tmp_path / "log.jsonl").read_text().splitlines())
    found = probe.measure(*asked, kept)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2 * (1 + len(SHARES))
    assert written == 5
    again = tmp_path / "again"
    assert probe.measure(*asked, log_of(again)) == found


def test_an_answer_without_a_token_holds(played: Played, tmp_path: Path) -> None:
    none = replace(played.full, ids={**played.full.ids, "z": []})
    whole, *_ = played.probe("rebuild").measure([QUESTION], [none], log_of(tmp_path))
    assert (whole.written, whole.kept, whole.missed) == (0, 0, ())


TEXTS = st.integers(0, 30).flatmap(
    lambda written: st.builds(
        HeldText,
        st.integers(0, 3),
        st.sampled_from(SHARES),
        st.just("rebuild"),
        st.just(written),
        st.sets(st.integers(0, written - 1)).map(lambda some: tuple(sorted(some)))
        if written
        else st.just(()),
    )
)


@given(TEXTS, st.integers(1, 5))
def test_figures_of_a_text(text: HeldText, parts: int) -> None:
    is_held = [place not in text.missed for place in range(text.written)]
    assert text.kept == next((n for n, held in enumerate(is_held) if not held), text.written)
    if not text.written:
        assert math.isnan(text.agreement())
        return
    assert text.agreement() == pytest.approx(np.mean(is_held))
    # What stays counts wherever it stands.
    assert text.agreement() >= text.kept / text.written - 1e-12
    if text.kept:
        assert text.agreement(0, text.kept) == 1
    (together,) = held_by_share([text], parts)
    assert len(together.by_position) <= parts
    means = [(stop - start) * one.mean for (start, stop), one in together.by_position.items()]
    assert sum(means) == pytest.approx(sum(is_held))


def test_shares_are_summed_up_by_hand() -> None:
    """Of texts of 4 and 2 tokens, cut at 2: the second has no position in the later part."""
    one = HeldText(0, 0.5, "rebuild", 4, (1, 3), (2,))
    other = HeldText(1, 0.5, "rebuild", 2, ())
    less, whole = held_by_share([HeldText(0, 1.0, "rebuild", 4, ()), one, other], 2)
    assert (less.share, less.texts, whole.share, whole.texts) == (0.5, 2, 1.0, 1)
    assert (less.written.mean, less.kept.mean, less.agreement.mean) == (3, 1.5, 0.75)
    assert (less.kept.low, less.kept.high) == (1, 2)
    assert {cut: found.mean for cut, found in less.by_position.items()} == {
        (0, 2): 0.75,
        (2, 4): 0.5,
    }


def test_the_table_shows_shares_and_counts_ties() -> None:
    some = [HeldText(n, 0.5, "rebuild", 40, (10 * n + 10,), (2,)) for n in range(2)]
    console = Console(width=150, record=True)
    console.print(held_table(some))
    shown = " ".join(console.export_text().split())
    assert "50% │ 40.0 │ 15.0 ±5.00 │" in shown
    assert "┃ at 1–10 ┃ at 11–20 ┃" in shown
    assert "2 requests; 100 %: the fully read text itself; near ties" in shown
    assert "that count as kept: 2" in shown


def test_a_profile_keeps_them_and_older_ones_have_none(tmp_path: Path) -> None:
    path, older = tmp_path / "quality.json", tmp_path / "older.json"
    profile = replace(PROFILE, held=(HeldText(0, 0.25, "rebuild", 9, (3, 7), (2,)),))
    save_quality(path, profile)
    assert load_quality(path) == profile
    document = json.loads(path.read_text())
    del document["content"]["held"]
    document["hash"] = content_hash(document["content"])
    older.write_text(json.dumps(document))
    assert load_quality(older) == PROFILE


def test_it_is_said_where_it_cannot_be_seen() -> None:
    scenario = load_scenario(DEMO)
    assert why_not_held(scenario) is None
    drawing = scenario.real["editor"].model_copy(update={"temperature": 0.7})
    drawn = scenario.model_copy(update={"engines": {**scenario.engines, "editor": drawing}})
    assert why_not_held(drawn) == "editor draws its tokens (temperature 0.7)"
