"""Schedules in words, and where the figures in them stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from staircase.schedule import Schedule, Staircase, Step

# Steps that are told of an irregular staircase.
MOST = 6


@dataclass(frozen=True)
class Phrase:
    """Words with a gap ``{}`` for each of ``keys``, the ways to figures from the schedule on."""

    template: str
    keys: tuple[tuple[str | int, ...], ...]

    def of(self, schedule: Schedule) -> str:
        return self.template.format(*(_follow(schedule, way) for way in self.keys))


def describe_schedule(schedule: Schedule) -> str:
    """A schedule in a line: the layout, and its staircases as tokens read / written."""
    names = {staircase: name for name, staircase in schedule.staircases.items()}
    phrases = [phrase_of(schedule, name).of(schedule) for name in names.values()]
    return " | ".join(phrases or [phrase_of(schedule, "").of(schedule)])


def phrase_of(schedule: Schedule, agent: str) -> Phrase:
    """One agent's staircase as in ``append_rounds, without a, read/write 8/16, then +16/16``.

    A step is what has been read in all and what is written; later ones, what is read more.
    """
    staircase = schedule.staircases.get(agent, Staircase())
    head, keys = _head(schedule)
    if staircase.is_normal:
        return Phrase(f"{head}, read all first", tuple(keys))
    words = []
    for number, step in enumerate(staircase.steps[:MOST]):
        words.append(_words(step))
        keys += _keys(step, ("staircases", agent, "steps", number))
    after = "then the rest"
    if len(staircase.steps) > MOST:
        after = "…"
    elif staircase.growth is not None:
        after = f"then +{_words(staircase.growth)}"
        keys += _keys(staircase.growth, ("staircases", agent, "growth"))
    return Phrase(f"{head}, read/write {', '.join([*words, after])}", tuple(keys))


def _head(schedule: Schedule) -> tuple[str, list[tuple[str | int, ...]]]:
    """The layout, and what of the other options is not as usual."""
    words: list[str] = ["{}"]
    keys: list[tuple[str | int, ...]] = [("layout",)]
    if schedule.barrier.kind != "all":
        words.append(f"{schedule.barrier.kind} {{}}")
        keys.append(("barrier", "count"))
    if schedule.window:
        words.append("last {} of inputs in hops of {}")
        keys += [("window", "tokens"), ("window", "hop")]
    if schedule.at_once is not None:
        words.append("at most {} at once")
        keys.append(("at_once",))
    if schedule.checks:
        words.append("checked until {} read" if schedule.checked else "checked until all is read")
        keys += [("checked",)] if schedule.checked else []
        if schedule.show == "at_once":
            words.append("shown at once")
    if schedule.revision == "keep":
        words.append("kept where inputs are replaced")
    if schedule.without:
        words.append(f"without {', '.join(['{}'] * len(schedule.without))}")
        keys += [("without", number) for number in range(len(schedule.without))]
    return ", ".join(words), keys


def _words(step: Step) -> str:
    return f"{'all' if step.read is None else '{}'}/{'end' if step.write is None else '{}'}"


def _keys(step: Step, way: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return [(*way, name) for name in ("read", "write") if getattr(step, name) is not None]


def _follow(found: Any, way: tuple[str | int, ...]) -> Any:
    for key in way:
        is_field = isinstance(key, str) and hasattr(found, key)
        found = getattr(found, str(key)) if is_field else found[key]
    return found
