"""The bulletin desk: what it says of itself, and its ceiling."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.embedded import task
from executor.embedded.desk import play
from executor.embedded.draw_rounds import draw_rounds
from executor.embedded.evaluate import draw_bulletins
from executor.embedded.samples import (
    END,
    FORMAT,
    SPECIAL,
    editor_sample,
    editor_targets,
    reporter_sample,
)
from executor.models import load_model
from staircase.prompt import Round, build_prompt
from staircase.schedule import LAYOUTS, Layout, Schedule, parse_staircase


def test_reports_say_what_the_notes_say() -> None:
    rng = random.Random(0)
    for style in range(len(task.STYLES)):
        bulletin = task.draw_bulletin(rng, ["north"], [style])
        words = bulletin.reports()["north"].split()
        assert task.read_claims(words) == bulletin.notes["north"]


def test_half_a_report_claims_no_more_than_it_says() -> None:
    words = ["perhaps", "the", "city", "is", "hamar", ".", "the", "day", "is"]
    assert task.read_claims(words) == [task.Note("city", "hamar", "unsure")]


def test_the_right_bulletin_scores_one() -> None:
    record = task.draw_record(random.Random(1))
    assert task.field_accuracy(task.bulletin_text(record), record) == 1.0
    assert task.field_accuracy("", record) == 0.0


@pytest.mark.parametrize(("reports", "ceiling"), [(1, 0.71), (3, 0.93), (4, 0.967)])
def test_bayes_ceiling_rises_with_reports(reports: int, ceiling: float) -> None:
    rng = random.Random(2)
    names = task.CORRESPONDENTS[:reports]
    hits = 0
    for _ in range(1500):
        bulletin = task.draw_bulletin(rng, names)
        claims = [note for notes in bulletin.notes.values() for note in notes]
        best = task.bayes_bulletin(claims)
        hits += sum(best[name] == value for name, value in bulletin.record.items())
    assert hits / (1500 * len(task.FIELDS)) == pytest.approx(ceiling, abs=0.012)


@given(st.data())
def test_posterior_is_what_counting_gives(data: st.DataObject) -> None:
    """Against enumeration: every value might be true; each claim was then drawn as notes are."""
    field = data.draw(st.sampled_from(["day", "dish"]))
    values = task.FIELDS[field]
    claim = st.builds(
        task.Note, st.just(field), st.sampled_from(values), st.sampled_from(list(task.RIGHT))
    )
    claims = data.draw(st.lists(claim, max_size=7))
    likelihoods = {
        truth: math.prod(
            task.RIGHT[claim.certainty]
            if claim.value == truth
            else (1 - task.RIGHT[claim.certainty]) / (len(values) - 1)
            for claim in claims
        )
        for truth in values
    }
    found = task.posterior(field, [*claims, task.Note("city", "hamar", "sure")])
    assert sum(found.values()) == pytest.approx(1)
    total = sum(likelihoods.values())
    assert found == pytest.approx({value: one / total for value, one in likelihoods.items()})


def test_posterior_is_how_often_it_is_true() -> None:
    """Of many drawn notes, those called 70 to 80 % probable are true as often."""
    rng, calls = random.Random(5), []
    for _ in range(3000):
        bulletin = task.draw_bulletin(rng, task.CORRESPONDENTS[:2])
        claims = [note for notes in bulletin.notes.values() for note in notes]
        chances = task.posterior("day", claims)
        calls += [(chance, bulletin.record["day"] == value) for value, chance in chances.items()]
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        some = [call for call in calls if low <= call[0] < low + 0.2]
        said, true = (sum(column) / len(some) for column in zip(*some, strict=True))
        assert said == pytest.approx(true, abs=3 * 0.5 / math.sqrt(len(some)))


def encode(text: str) -> list[int]:
    return [VOCABULARY[word] for word in text.split()]


WORDS = [*SPECIAL, *task.vocabulary()]
VOCABULARY = {word: number for number, word in enumerate(WORDS)}


def test_training_samples_are_what_agents_see() -> None:
    rng = random.Random(3)
    for _ in range(50):
        sample = editor_sample(rng, encode)
        words = [WORDS[token] for token in sample.ids]
        assert words[0] == "<edit>"
        assert max(sample.targets) == len(words) - 1
        own = [words[place] for place in sorted(sample.targets)]
        record = {task.FIELD_OF[word]: word for word in own if word in task.FIELD_OF}
        assert " ".join(own) == f"{task.bulletin_text(record)} {END}"
        for place, chances in sample.targets.items():
            assert words[place] in chances
            assert sum(chances.values()) == pytest.approx(1)
            assert (len(chances) > 1) == (words[place] in task.FIELD_OF)
    report = reporter_sample(rng, encode)
    assert report.targets[len(report.ids) - 1] == {END: 1.0}
    assert FORMAT.own == "<write>"


def read_back(words: Sequence[str]) -> Iterator[tuple[int, str, Mapping[str, list[task.Note]]]]:
    """From the words alone: places of values, who speaks there ("" the editor), claims so far."""
    told, speaker = dict[str, list[str]](), ""
    for place, word in enumerate(words):
        if word in ("<write>", "<from>"):
            speaker = words[place + 1] if word == "<from>" else ""
        elif speaker and word != speaker:
            told.setdefault(speaker, []).append(word)
        if word in task.FIELD_OF:
            yield place, speaker, {name: task.read_claims(said) for name, said in told.items()}


@given(st.integers(0, 10_000))
@settings(deadline=None)
def test_targets_are_bayes_rule_over_the_words_before_them(seed: int) -> None:
    sample = editor_sample(random.Random(seed), encode)
    words = [WORDS[token] for token in sample.ids]
    read = dict[int, str]()
    for place, speaker, told in read_back(words):
        claims = [claim for said in told.values() for claim in said]
        chances = task.posterior(task.FIELD_OF[words[place]], claims)
        if speaker:
            read[place] = task.MARKS[told[speaker][-1].certainty]
            assert sample.beliefs[place] == chances
        else:
            assert sample.targets[place] == chances
    assert sample.marks == {place: {mark: 1.0} for place, mark in read.items()}
    assert sample.beliefs.keys() == read.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_claim_counts_from_the_word_that_completes_it(layout: Layout) -> None:
    report = task.STYLES[0]["unsure"].format(field="dish", value="ramen").split()
    report += task.STYLES[0]["sure"].format(field="day", value="friday").split()
    own = task.bulletin_text(task.draw_record(random.Random(6))).split()
    words = {"north": report, "editor": own}
    sizes = {"north": len(report), "editor": len(own)}
    day = own.index("date") + 1
    for read in range(len(report) + 1):
        prompt = build_prompt("editor", ["north"], [Round((read,), 0)], len(own), layout, sizes)
        _, chances = list(editor_targets(prompt, words))[day]
        assert chances["friday"] == pytest.approx(0.92 if read >= 10 else 1 / 7)


def test_interleaved_a_claim_counts_only_after_it_was_read() -> None:
    own = task.bulletin_text(task.draw_record(random.Random(6))).split()
    words = {"north": ["day", ":", "friday", "."], "editor": own}
    day = own.index("date") + 1
    for written, chance in ((day, 0.92), (day + 1, 1 / 7)):
        rounds = [Round((2,), 0), Round((4,), written)]
        prompt = build_prompt("editor", ["north"], rounds, len(own), "interleave", {})
        chances = [chances for _, chances in editor_targets(prompt, words)]
        assert chances[day]["friday"] == pytest.approx(chance)


@given(st.integers(0, 10_000), st.booleans())
def test_random_rounds_rise(seed: int, is_spread: bool) -> None:
    lengths = (30, 50, 40)
    rounds = draw_rounds(random.Random(seed), lengths, 38, is_spread)
    for before, now in pairwise([Round((0, 0, 0), 0), *rounds]):
        assert all(a <= b <= n for a, b, n in zip(before.read, now.read, lengths, strict=True))
        assert before.written <= now.written < 38
    assert is_spread or not any(entry.written for entry in rounds)


@pytest.mark.slow
def test_the_editor_is_nearly_as_good_as_bayes_rule() -> None:
    """Reports as the model writes them; read at once, half, and along staircases."""
    model = load_model("embedded", "cpu", "float32")
    told = play(model, draw_bulletins(60, 3), Schedule())
    bulletins = [game.bulletin for game in told]
    assert mean(game.score for game in told) > mean(game.alone("north") for game in told) + 0.15
    # Over 300 requests it is nowhere more than 1.3 points below (model card); of 60 they know two.
    assert mean(game.score for game in told) > mean(game.ceiling for game in told) - 0.02
    for layout in LAYOUTS:
        for read in ("steps:24/64", "constant:8,8,8"):
            schedule = Schedule({"editor": parse_staircase(read)}, layout)
            games = play(model, bulletins, schedule, told)
            assert mean(game.score for game in games) < mean(game.score for game in told)
            assert mean(game.score for game in games) > mean(game.ceiling for game in games) - 0.03
