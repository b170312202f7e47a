"""Bulletin desks: tasks in which the last model truly needs several proposers.

A hidden record has some fields. Every correspondent has notes on it: some fields are missing, some
are sure (right in 92 % of cases), some unsure (42 %), of which some are corrected later. It writes
a report in its own style; the editor reads only the reports and writes the bulletin. Errors are
independent given the record, so Bayes' rule over the claims that are visible is the best that
anybody can do at any read level (``Task.bayes_bulletin``).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Certainty = Literal["sure", "unsure", "fix"]
Record = dict[str, str]

# Of all desks; no value belongs to two fields.
FIELDS: dict[str, tuple[str, ...]] = {
    name: tuple(values.split())
    for name, values in {
        "event": "concert fair regatta lecture parade auction premiere contest workshop",
        "city": "arvik belmar corda dunmore elvas farnham gorlitz hamar ivrea jesolo",
        "venue": "harbour stadium library museum theatre garden castle chapel station",
        "day": "monday tuesday wednesday thursday friday saturday sunday",
        "hour": "noon dusk dawn seven eight nine ten eleven",
        "host": "anna boris clara david elena frank greta henry irene jonas karin lukas",
        "sponsor": "brewery bakery bank printer florist tailor jeweller grocer",
        "music": "jazz opera folk techno tango gospel swing blues polka ska",
        "dish": "risotto goulash paella ramen falafel lasagne chowder pierogi",
        "drink": "cider lemonade cocoa espresso mead punch kefir tonic",
        "mascot": "otter falcon badger heron lynx beaver raven hedgehog marten",
        "prize": "trophy voucher bicycle lamp camera guitar hammock telescope",
        "weather": "fog rain snow hail drizzle sunshine thunder frost",
        "transport": "tram ferry bus metro taxi train shuttle funicular",
    }.items()
}
FIELD_OF = {value: name for name, values in FIELDS.items() for value in values}
CORRESPONDENTS = ("north", "south", "east", "west", "coast")
HEDGES: dict[str, Certainty] = {"perhaps": "unsure", "maybe": "unsure", "really": "fix"}
RIGHT: dict[Certainty, float] = {"sure": 0.92, "unsure": 0.42, "fix": 0.92}
MARKS: dict[Certainty, str] = {"sure": "!", "unsure": "?", "fix": "+"}


@dataclass(frozen=True)
class Note:
    field: str
    value: str
    certainty: Certainty


@dataclass(frozen=True, eq=False)
class Task:
    """One desk.

    Attributes:
        fields: of the record, in the order in which the bulletin gives them.
        correspondents: who may report.
        styles: a sentence for each certainty. A hedge stands right before its value: one look back
            tells how far to trust it.
        bulletin: but for the values no word of it comes twice, or in a report: what of it was
            written, wherever in a prompt it stands, tells what comes next.
        p_missing, p_sure: shares of the fields; the others are unsure.
        p_fix: share of the unsure ones that are corrected.
        place: of a field's number and certainty, where in a report it is told: by rising places.
        fix_place: of the place of what it corrects, where a correction is told.
    """

    fields: tuple[str, ...]
    correspondents: tuple[str, ...]
    styles: tuple[Mapping[Certainty, str], ...]
    bulletin: str
    p_missing: float
    p_sure: float
    p_fix: float
    place: Callable[[random.Random, int, Certainty], float]
    fix_place: Callable[[random.Random, float], float]

    def draw_record(self, rng: random.Random) -> Record:
        return {name: rng.choice(FIELDS[name]) for name in self.fields}

    def draw_notes(self, rng: random.Random, record: Record) -> list[Note]:
        """What one correspondent noted about ``record``, in the order in which it will tell it."""
        placed: list[tuple[float, Note]] = []
        for number, name in enumerate(self.fields):
            fate = rng.random()
            if fate < self.p_missing:
                continue
            certainty: Certainty = "sure" if fate < self.p_missing + self.p_sure else "unsure"
            place = self.place(rng, number, certainty)
            placed.append((place, _note(rng, record, name, certainty)))
            if certainty == "unsure" and rng.random() < self.p_fix:
                fix = _note(rng, record, name, "fix")
                placed.append((self.fix_place(rng, place), fix))
        return [note for _, note in sorted(placed, key=lambda pair: pair[0])]

    def draw_bulletin(
        self, rng: random.Random, names: Sequence[str], styles: Sequence[int] | None = None
    ) -> Bulletin:
        record = self.draw_record(rng)
        chosen = styles or [rng.randrange(len(self.styles)) for _ in names]
        return Bulletin(
            self,
            record,
            {name: self.draw_notes(rng, record) for name in names},
            dict(zip(names, chosen, strict=True)),
        )

    def report_text(self, notes: Sequence[Note], style: int) -> str:
        sentences = self.styles[style]
        return " ".join(
            sentences[note.certainty].format(field=note.field, value=note.value) for note in notes
        )

    def bulletin_text(self, record: Record) -> str:
        return self.bulletin.format(**record)

    def bayes_bulletin(self, claims: Sequence[Note]) -> Record:
        """The most probable record given independent claims: the task's ceiling."""
        chances = {name: posterior(name, claims) for name in self.fields}
        return {name: max(values, key=values.__getitem__) for name, values in chances.items()}

    def vocabulary(self) -> list[str]:
        """Every word of the task, in a fixed order."""
        templates = " ".join(text for style in self.styles for text in style.values())
        words = re.sub(r"{\w+}", "", f"{templates} {self.bulletin}").split()
        words += [value for name in self.fields for value in (name, *FIELDS[name])]
        words += [*MARKS.values(), *self.correspondents, "bulletin"]
        return sorted(set(words))


@dataclass(frozen=True)
class Bulletin:
    """One request: the hidden record, and each correspondent's notes and style."""

    task: Task
    record: Record
    notes: dict[str, list[Note]]
    styles: dict[str, int]

    def inputs(self) -> dict[str, str]:
        """Each correspondent's query."""
        return {name: notes_text(notes, self.styles[name]) for name, notes in self.notes.items()}

    def reports(self) -> dict[str, str]:
        return {
            name: self.task.report_text(notes, self.styles[name])
            for name, notes in self.notes.items()
        }


def _note(rng: random.Random, record: Record, name: str, certainty: Certainty) -> Note:
    if rng.random() < RIGHT[certainty]:
        return Note(name, record[name], certainty)
    wrong = [value for value in FIELDS[name] if value != record[name]]
    return Note(name, rng.choice(wrong), certainty)


def notes_text(notes: Sequence[Note], style: int) -> str:
    """A correspondent's query: its notes and its style."""
    told = " ".join(f"{MARKS[note.certainty]} {note.field} {note.value}" for note in notes)
    return f"<style{style}> {told}"


def field_accuracy(answer: str, record: Record) -> float:
    """Share of the fields that the bulletin gives right."""
    told = {claim.field: claim.value for claim in read_claims(answer.split())}
    return shared_fields(told, record)


def shared_fields(told: Record, record: Record) -> float:
    """Share of ``record``'s fields that ``told`` has right."""
    return sum(told.get(name) == value for name, value in record.items()) / len(record)


def read_claims(words: Iterable[str]) -> list[Note]:
    """The claims that are complete in ``words``, however far they go."""
    claims: list[Note] = []
    certainty: Certainty = "sure"
    for word in words:
        if word == ".":
            certainty = "sure"
        elif word in HEDGES:
            certainty = HEDGES[word]
        elif word in FIELD_OF:
            claims.append(Note(FIELD_OF[word], word, certainty))
    return claims


def posterior(field: str, claims: Iterable[Note]) -> dict[str, float]:
    """Probability of each value of ``field`` given independent claims, by Bayes' rule.

    Their order makes no difference, not even to the bit.
    """
    said: dict[str, list[float]] = {value: [] for value in FIELDS[field]}
    for claim in claims:
        if claim.field == field:
            right = RIGHT[claim.certainty]
            said[claim.value].append(math.log(right) - math.log((1 - right) / (len(said) - 1)))
    score = {value: math.fsum(gains) for value, gains in said.items()}
    most = max(score.values())
    weights = {value: math.exp(this - most) for value, this in score.items()}
    total = sum(weights.values())
    return {value: weight / total for value, weight in weights.items()}
