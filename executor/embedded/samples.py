"""Training samples of the bulletin desk: the very prompts that agents see at run time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from executor.embedded import task
from executor.rendering import PromptFormat, encode_texts, fixed_texts, render
from staircase.pipeline import Agent
from staircase.prompt import Round, build_prompt
from staircase.schedule import LAYOUTS

FORMAT = PromptFormat(header="{role}", query="{query}", label="<from> {source}", own="<write>")
REPORTER_ROLE, EDITOR_ROLE, EDITOR_QUERY = "<report>", "<edit>", "bulletin"
END = "<end>"
SPECIAL = [
    "<pad>",
    END,
    "<unk>",
    REPORTER_ROLE,
    EDITOR_ROLE,
    "<from>",
    "<write>",
    *(f"<style{number}>" for number in range(len(task.STYLES))),
]


@dataclass(frozen=True)
class Sample:
    """Token ids, and for each whether the model is to predict it."""

    ids: list[int]
    is_target: list[bool]


Encode = Callable[[str], list[int]]


def reporter_sample(rng: random.Random, encode: Encode) -> Sample:
    """A correspondent's notes, then its report."""
    bulletin = task.draw_bulletin(rng, ["north"])
    agent = Agent("north", role=REPORTER_ROLE)
    texts = fixed_texts(agent, bulletin.inputs()["north"], FORMAT)
    prompt = [token for text in texts.values() for token in encode(text)]
    report = encode(bulletin.reports()["north"] + " " + END)
    return Sample(prompt + report, [False] * len(prompt) + [True] * len(report))


def editor_sample(rng: random.Random, encode: Encode, is_easy: bool = False) -> Sample:
    """Some of some reports in a random layout, then the bulletin that is true.

    An easy one has few reports, all of them read.
    """
    most = 2 if is_easy else len(task.CORRESPONDENTS)
    names = rng.sample(task.CORRESPONDENTS, rng.randint(1, most))
    bulletin = task.draw_bulletin(rng, names)
    agent = Agent("editor", reads=tuple(names), role=EDITOR_ROLE)
    ids = encode_texts(fixed_texts(agent, EDITOR_QUERY, FORMAT), encode)
    ids |= {name: encode(text) for name, text in bulletin.reports().items()}
    ids["editor"] = encode(task.bulletin_text(bulletin.record) + " " + END)
    own = len(ids["editor"])
    layout = rng.choice(LAYOUTS)
    lengths = tuple(len(ids[name]) for name in names)
    rounds = (
        [Round(lengths, 0)]
        if is_easy
        else draw_rounds(rng, lengths, own, is_spread=layout == "interleave")
    )
    fixed = {name: len(tokens) for name, tokens in ids.items()}
    prompt = build_prompt("editor", names, rounds, own, layout, fixed)
    is_target = [
        segment.source == "editor" for segment in prompt.segments for _ in range(segment.tokens)
    ]
    return Sample(render(prompt, ids), is_target)


def draw_rounds(
    rng: random.Random, lengths: tuple[int, ...], own: int, is_spread: bool
) -> list[Round]:
    """Rounds of a random staircase; all before the first own token unless ``is_spread``."""
    if rng.random() < 0.25:
        return [Round(lengths, 0)]
    first, chunk = rng.choice([4, 8, 16, 24, 32, 48]), rng.choice([4, 8, 16, 24, 32, 48])
    write = rng.randint(2, 24)
    last = max(lengths) if rng.random() < 0.4 else rng.randint(0, max(lengths))
    rounds, level, written = [], min(first, last), 0
    while True:
        rounds.append(Round(tuple(min(level, n) for n in lengths), written))
        if level >= last:
            return rounds
        level = min(level + chunk, last)
        written = written + write if is_spread else 0
        if written >= own:
            return rounds
