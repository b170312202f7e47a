"""Bulletin desk: a task in which the last model truly needs several proposers.

A hidden record has eight fields. Every correspondent has notes on it: some fields are missing,
some are sure (right in 92 % of cases), some unsure (42 %), the unsure ones later and sometimes
corrected at the end. It writes a report in its own style; the editor reads only the reports and
writes the bulletin. Errors are independent given the record, so Bayes' rule over the claims that
are visible is the best that anybody can do at any read level (``bayes_bulletin``).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Certainty = Literal["sure", "unsure", "fix"]
Record = dict[str, str]

FIELDS: dict[str, tuple[str, ...]] = {
    name: tuple(values.split())
    for name, values in {
        "event": "concert fair regatta lecture parade auction premiere contest workshop",
        "city": "arvik belmar corda dunmore elvas farnham gorlitz hamar ivrea jesolo",
        "venue": "harbour stadium library museum theatre garden castle chapel station",
        "day": "monday tuesday wednesday thursday friday saturday sunday",
        "host": "anna boris clara david elena frank greta henry irene jonas karin lukas",
        "dish": "risotto goulash paella ramen falafel lasagne chowder pierogi",
        "music": "jazz opera folk techno tango gospel swing blues polka ska",
        "mascot": "otter falcon badger heron lynx beaver raven hedgehog marten",
    }.items()
}
FIELD_OF = {value: name for name, values in FIELDS.items() for value in values}
CORRESPONDENTS = ("north", "south", "east", "west", "coast")

# A hedge stands right before its value: one look back tells how far to trust it.
STYLES: tuple[dict[Certainty, str], ...] = (
    {
        "sure": "the {field} is {value} .",
        "unsure": "the {field} is perhaps {value} .",
        "fix": "sorry , the {field} is really {value} .",
    },
    {
        "sure": "our desk confirms that the {field} will be {value} .",
        "unsure": "our desk believes that the {field} will be perhaps {value} .",
        "fix": "correction : the {field} will be really {value} .",
    },
    {
        "sure": "everybody here says the {field} is {value} .",
        "unsure": "somebody here guesses the {field} is maybe {value} .",
        "fix": "oh and the {field} is really {value} .",
    },
    {
        "sure": "{field} : {value} .",
        "unsure": "{field} : maybe {value} .",
        "fix": "update : {field} : really {value} .",
    },
    {
        "sure": "as for the {field} , it has been settled as {value} .",
        "unsure": "as for the {field} , it might turn out as perhaps {value} .",
        "fix": "as for the {field} , it is now really {value} .",
    },
)
# But for the values no word of it comes twice, or in a report: what of it was written, wherever in
# a prompt it stands, tells what comes next.
BULLETIN = (
    "happening {event} starts in town {city} at place {venue} on date {day} when presenter {host} "
    "proudly serves menu {dish} with lively sound {music} while friendly costume {mascot} greets "
    "everyone who comes"
)
HEDGES: dict[str, Certainty] = {"perhaps": "unsure", "maybe": "unsure", "really": "fix"}
RIGHT: dict[Certainty, float] = {"sure": 0.92, "unsure": 0.42, "fix": 0.92}
MARKS: dict[Certainty, str] = {"sure": "!", "unsure": "?", "fix": "+"}
P_MISSING, P_SURE, P_FIX = 0.15, 0.60, 0.30


@dataclass(frozen=True)
class Note:
    field: str
    value: str
    certainty: Certainty


def draw_record(rng: random.Random) -> Record:
    return {name: rng.choice(values) for name, values in FIELDS.items()}


def draw_notes(rng: random.Random, record: Record) -> list[Note]:
    """What one correspondent noted about ``record``, in the order in which it will tell it."""
    first: list[tuple[float, Note]] = []
    fixes: list[Note] = []
    for name in FIELDS:
        fate = rng.random()
        if fate < P_MISSING:
            continue
        certainty: Certainty = "sure" if fate < P_MISSING + P_SURE else "unsure"
        place = rng.random() + (0.6 if certainty == "unsure" else 0.0)
        first.append((place, _note(rng, record, name, certainty)))
        if certainty == "unsure" and rng.random() < P_FIX:
            fixes.append(_note(rng, record, name, "fix"))
    return [note for _, note in sorted(first, key=lambda pair: pair[0])] + fixes


def _note(rng: random.Random, record: Record, name: str, certainty: Certainty) -> Note:
    if rng.random() < RIGHT[certainty]:
        return Note(name, record[name], certainty)
    wrong = [value for value in FIELDS[name] if value != record[name]]
    return Note(name, rng.choice(wrong), certainty)


def notes_text(notes: Sequence[Note], style: int) -> str:
    """A correspondent's query: its notes and its style."""
    told = " ".join(f"{MARKS[note.certainty]} {note.field} {note.value}" for note in notes)
    return f"<style{style}> {told}"


def report_text(notes: Sequence[Note], style: int) -> str:
    return " ".join(
        STYLES[style][note.certainty].format(field=note.field, value=note.value) for note in notes
    )


def bulletin_text(record: Record) -> str:
    return BULLETIN.format(**record)


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


def bayes_bulletin(claims: Sequence[Note]) -> Record:
    """The most probable record given independent claims: the task's ceiling."""
    chances = {name: posterior(name, claims) for name in FIELDS}
    return {name: max(values, key=values.__getitem__) for name, values in chances.items()}


@dataclass(frozen=True)
class Bulletin:
    """One request: the hidden record, and each correspondent's notes and style."""

    record: Record
    notes: dict[str, list[Note]]
    styles: dict[str, int]

    def inputs(self) -> dict[str, str]:
        """Each correspondent's query."""
        return {name: notes_text(notes, self.styles[name]) for name, notes in self.notes.items()}

    def reports(self) -> dict[str, str]:
        return {name: report_text(notes, self.styles[name]) for name, notes in self.notes.items()}


def draw_bulletin(
    rng: random.Random, names: Sequence[str], styles: Sequence[int] | None = None
) -> Bulletin:
    record = draw_record(rng)
    chosen = styles or [rng.randrange(len(STYLES)) for _ in names]
    return Bulletin(
        record,
        {name: draw_notes(rng, record) for name in names},
        dict(zip(names, chosen, strict=True)),
    )


def vocabulary() -> list[str]:
    """Every word of the task, in a fixed order."""
    templates = " ".join(text for style in STYLES for text in style.values())
    words = re.sub(r"{\w+}", "", f"{templates} {BULLETIN}").split()
    words += [*FIELDS, *FIELD_OF, *MARKS.values(), *CORRESPONDENTS, "bulletin"]
    return sorted(set(words))
