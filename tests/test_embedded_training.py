"""What the embedded models are trained on, beside sums by hand; and the training command."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from executor.embedded.losses import (
    BELIEF_WEIGHT,
    MARK_LAYER,
    MARK_WEIGHT,
    RESTART_WEIGHT,
    VALUE_WEIGHT,
    Losses,
)
from executor.embedded.ordered_desk import ORDERED
from executor.embedded.samples import Chances, editor_sample, reporter_sample
from executor.embedded.train import LESSONS, build_model, build_tokenizer, train
from executor.inprocess.models import load_model

WORDS = build_tokenizer(ORDERED).get_vocab()


def encode(text: str) -> list[int]:
    return [WORDS[word] for word in text.split()]


def kl(chances: Chances, log_drawn: torch.Tensor) -> float:
    some = {word: p for word, p in chances.items() if p}
    return sum(p * (math.log(p) - float(log_drawn[WORDS[word]])) for word, p in some.items())


@torch.no_grad()
def test_losses_are_what_is_summed_by_hand() -> None:
    """Row by row without padding, place by place."""
    torch.manual_seed(0)
    model, rng = build_model(len(WORDS)), random.Random(1)
    samples = [editor_sample(ORDERED, rng, encode) for _ in range(4)]
    written, weights, beliefs, marks = [], [], list[float](), list[float]()
    for sample in samples:
        output = model(input_ids=torch.tensor([sample.ids]), output_hidden_states=True)
        drawn = output.logits[0].log_softmax(-1)
        early = model.lm_head(model.model.norm(output.hidden_states[MARK_LAYER]))[0].log_softmax(-1)
        for place, chances in sample.targets.items():
            written.append(kl(chances, drawn[place - 1]))
            weight = VALUE_WEIGHT if len(chances) > 1 else 1
            weights.append(weight + (RESTART_WEIGHT - 1) * (place in sample.restarts))
        beliefs += [kl(chances, drawn[place]) for place, chances in sample.beliefs.items()]
        marks += [kl(chances, early[place]) for place, chances in sample.marks.items()]
    found = Losses(model, WORDS)(samples)
    mean = sum(w * one for w, one in zip(weights, written, strict=True)) / sum(weights)
    more = BELIEF_WEIGHT * sum(beliefs) / len(beliefs) + MARK_WEIGHT * sum(marks) / len(marks)
    assert float(found.total) == pytest.approx(mean + more, rel=1e-4)


@torch.no_grad()
def test_reports_are_learned_by_their_words_only() -> None:
    torch.manual_seed(0)
    model, sample = build_model(len(WORDS)), reporter_sample(ORDERED, random.Random(1), encode)
    drawn = model(input_ids=torch.tensor([sample.ids])).logits[0].log_softmax(-1)
    losses = [kl(chances, drawn[place - 1]) for place, chances in sample.targets.items()]
    found = Losses(model, WORDS)([sample])
    assert float(found.total) == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert not sample.beliefs


@pytest.mark.parametrize("name", LESSONS)
def test_the_rate_rises_and_falls(name: str) -> None:
    lesson = LESSONS[name]
    rates = [lesson.share_of_rate(step) for step in range(lesson.steps)]
    assert rates[0] == 1 / 50
    assert rates[49] == pytest.approx(1, abs=0.04)
    assert rates[-1] == pytest.approx(0.01, abs=0.002)
    assert 0 < min(rates) <= max(rates) <= 1


@pytest.mark.slow
def test_training_is_seeded_and_what_it_writes_is_a_model(tmp_path: Path) -> None:
    for name in ("one", "two"):
        train(replace(LESSONS["embedded"], steps=3), 5, tmp_path / name)
    one, two = (load_model(str(tmp_path / name), "cpu", "float32") for name in ("one", "two"))
    pairs = zip(one.network.parameters(), two.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert one.encode("the day is") == encode("the day is")
