"""Training samples of a bulletin desk: the very prompts that agents see at run time.

What is to be learned at each place is a distribution over words. Where the editor names a value
it is Bayes' rule over the claims that stand before that place in the prompt, so whoever has learned
it is as sure as what was read allows, in every layout and at every read level.

Nobody is asked for anything while reading, but a model of four layers finds the rule much sooner if
it must say at each claim how sure that is, and what follows from all claims so far (docs/log.md).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from executor.embedded.draw_rounds import draw_rounds
from executor.embedded.task import (
    CORRESPONDENTS,
    FIELD_OF,
    MARKS,
    Bulletin,
    Note,
    Record,
    Task,
    posterior,
    read_claims,
)
from executor.embedded_models import FORMAT
from executor.tokens.rendering import Encode, encode_texts, fixed_texts, render
from staircase.pipeline import Agent
from staircase.prompt import Prompt, Round, Segment, build_prompt
from staircase.schedule import LAYOUTS

REPORTER_ROLE, EDITOR_ROLE, EDITOR_QUERY = "<report>", "<edit>", "bulletin"
END = "<end>"
STYLES = 5
SPECIAL = [
    "<pad>",
    END,
    "<unk>",
    REPORTER_ROLE,
    EDITOR_ROLE,
    "<from>",
    "<write>",
    *(f"<style{number}>" for number in range(STYLES)),
]

Chances = Mapping[str, float]


@dataclass(frozen=True)
class TrainingSample:
    """Token ids, and by place what the word there should have been drawn from.

    Attributes:
        restarts: places where one's own text goes on after something else.
        marks: by place of a value that was read, how sure its claim is.
        beliefs: by the same place, Bayes' rule over this and all earlier claims.
    """

    ids: list[int]
    targets: dict[int, Chances]
    restarts: frozenset[int] = frozenset()
    marks: Mapping[int, Chances] = field(default_factory=dict)
    beliefs: Mapping[int, Chances] = field(default_factory=dict)


def reporter_sample(task: Task, rng: random.Random, encode: Encode) -> TrainingSample:
    """A correspondent's notes, then its report."""
    bulletin = task.draw_bulletin(rng, ["north"])
    agent = Agent("north", role=REPORTER_ROLE)
    texts = fixed_texts(agent, bulletin.inputs()["north"], FORMAT)
    prompt = [token for text in texts.values() for token in encode(text)]
    report = f"{bulletin.reports()['north']} {END}"
    targets: dict[int, Chances] = {
        len(prompt) + place: {word: 1.0} for place, word in enumerate(report.split())
    }
    return TrainingSample(prompt + encode(report), targets)


def editor_sample(
    task: Task, rng: random.Random, encode: Encode, is_easy: bool = False
) -> TrainingSample:
    """Some of some reports in a random layout, and a bulletin.

    An easy one has few reports, all of them read.
    """
    most = 2 if is_easy else len(task.correspondents)
    names = rng.sample(task.correspondents, rng.randint(1, most))
    bulletin = task.draw_bulletin(rng, names)
    reports = bulletin.reports()
    agent = Agent("editor", reads=tuple(names), role=EDITOR_ROLE)
    texts = fixed_texts(agent, EDITOR_QUERY, FORMAT) | reports
    texts["editor"] = f"{task.bulletin_text(_written(rng, bulletin))} {END}"
    ids = encode_texts(texts, encode)
    own = len(ids["editor"])
    # Interleaved, there is one thing more to learn: where one's own text went on.
    layout = rng.choice((*LAYOUTS, LAYOUTS[-1]))
    lengths = tuple(len(ids[name]) for name in names)
    is_spread = layout == "interleave"
    rounds = [Round(lengths, 0)] if is_easy else draw_rounds(rng, lengths, own, is_spread)
    fixed = {name: len(tokens) for name, tokens in ids.items()}
    prompt = build_prompt("editor", names, rounds, own, layout, fixed)
    words = {name: text.split() for name, text in texts.items()}
    claims = list(claims_read(prompt, words))
    return TrainingSample(
        render(prompt, ids),
        dict(editor_targets(prompt, words)),
        _restarts(prompt),
        {place: {MARKS[claim.certainty]: 1.0} for place, claim in claims},
        dict(_beliefs(claims)),
    )


def editor_targets(
    prompt: Prompt, words: Mapping[str, Sequence[str]]
) -> Iterator[tuple[int, Chances]]:
    """Each own place of the editor in ``prompt``, and what its word should be drawn from."""
    claims = list(claims_read(prompt, words))
    for start, segment in _placed(prompt):
        if segment.source == "editor":
            before = [claim for place, claim in claims if place < start]
            for place, word in enumerate(words["editor"][segment.start : segment.stop], start):
                name = FIELD_OF.get(word)
                yield place, posterior(name, before) if name else {word: 1.0}


def claims_read(prompt: Prompt, words: Mapping[str, Sequence[str]]) -> Iterator[tuple[int, Note]]:
    """Claims in the order in which ``prompt`` tells them, each with the place of its value."""
    for start, segment in _placed(prompt):
        if segment.source in CORRESPONDENTS:
            text = words[segment.source]
            for place in range(segment.start, segment.stop):
                if text[place] in FIELD_OF:
                    yield start + place - segment.start, read_claims(text[: place + 1])[-1]


def _beliefs(claims: Sequence[tuple[int, Note]]) -> Iterator[tuple[int, Chances]]:
    for number, (place, claim) in enumerate(claims, 1):
        yield place, posterior(claim.field, (one for _, one in claims[:number]))


def _placed(prompt: Prompt) -> Iterator[tuple[int, Segment]]:
    """Segments, each with the place of its first token."""
    starts = accumulate((segment.tokens for segment in prompt.segments), initial=0)
    return zip(starts, prompt.segments, strict=False)


def _restarts(prompt: Prompt) -> frozenset[int]:
    own = ((start, each) for start, each in _placed(prompt) if each.source == "editor")
    return frozenset(start for start, segment in own if segment.start)


def _written(rng: random.Random, bulletin: Bulletin) -> Record:
    """Values as an editor might have named them, by what it had read: they should teach nothing.

    The likely ones (what is played), drawn ones, or, as often, any at all.
    """
    fate = rng.random()
    if fate < 1 / 3:
        return bulletin.task.draw_record(rng)
    claims = [
        note for notes in bulletin.notes.values() for note in notes[: rng.randint(0, len(notes))]
    ]
    if fate < 2 / 3:
        return bulletin.task.bayes_bulletin(claims)
    chances = {name: posterior(name, claims) for name in bulletin.task.fields}
    return {
        name: rng.choices(list(values), list(values.values()))[0]
        for name, values in chances.items()
    }
