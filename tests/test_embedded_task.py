"""The bulletin desk: what it says of itself, and its ceiling."""

from __future__ import annotations

import random

import pytest

from executor.embedded import task
from executor.embedded.samples import FORMAT, draw_rounds, editor_sample, reporter_sample


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


def test_training_samples_are_what_agents_see() -> None:
    vocabulary: dict[str, int] = {}

    def encode(text: str) -> list[int]:
        return [vocabulary.setdefault(word, len(vocabulary)) for word in text.split()]

    rng = random.Random(3)
    for _ in range(50):
        sample = editor_sample(rng, encode)
        assert len(sample.ids) == len(sample.is_target)
        spoken = [
            token for token, is_own in zip(sample.ids, sample.is_target, strict=True) if is_own
        ]
        assert spoken[-1] == vocabulary["<end>"]
        assert sample.ids[0] == vocabulary["<edit>"]
    assert reporter_sample(rng, encode).is_target[-1]
    assert FORMAT.own == "<write>"


def test_random_rounds_rise() -> None:
    rng = random.Random(4)
    for _ in range(100):
        rounds = draw_rounds(rng, (30, 50), 38, is_spread=True)
        assert [r.read for r in rounds] == sorted(r.read for r in rounds)
        assert [r.written for r in rounds] == sorted(r.written for r in rounds)
