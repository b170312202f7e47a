"""Questions from JSON lines: Staircase's own, and those of the usual question sets.

    own         query; inputs (by agent), reference, kind; an input is a text, or a list of what
                is there of it and from when on: {"at": seconds, "text": "..."}
    turns       MT-Bench and Arena-Hard: the first turn is asked, a text or an object with content
    prompt      a text, as newer Arena-Hard has it
    question    GSM8K and others: answer is the reference; of GSM8K's what follows ####
    instruction Alpaca: input stands below it, output is the reference

Keys beside these are an error in Staircase's own lines; other sets have ids and categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from staircase.bounds import LONGEST_RUN_S
from staircase.errors import WorkloadError
from staircase.files import read_json_lines
from staircase.workload import Question

KNOWN = {"query", "inputs", "reference", "kind"}


def read_questions(path: Path) -> list[Question]:
    """One question a line.

    Raises:
        WorkloadError: names the file, the line and what would be right.
    """
    lines = read_json_lines(path, WorkloadError, "a JSON-lines file of questions")
    questions = [_question(entry, where) for where, entry in lines]
    if not questions:
        raise WorkloadError(f"{path}: holds no question")
    return questions


def _question(entry: Any, where: str) -> Question:
    for key, read in READERS.items():
        if isinstance(entry, dict) and key in entry:
            found = read(entry, where)
            if not found.query.strip():
                raise WorkloadError(f"{where}: {key}: the question is empty")
            return found
    keys = ", ".join(key for key in READERS if key != "query")
    raise WorkloadError(f'{where}: needs {{"query": "..."}}, or one of {keys}')


def _own(entry: Mapping[str, Any], where: str) -> Question:
    for key in entry.keys() - KNOWN:
        known = ", ".join(sorted(KNOWN))
        raise WorkloadError(f"{where}: unknown key {key!r}; known: {known}")
    inputs = entry.get("inputs", {})
    if not isinstance(inputs, Mapping):
        raise WorkloadError(f"{where}: inputs: must be texts by agent")
    there = f"{where}: inputs"
    listed = {name: one for name, one in inputs.items() if isinstance(one, list)}
    updates = {name: _updates(one, f"{there}: {name}") for name, one in listed.items()}
    texts = {
        name: updates[name][-1][1] if name in updates else _text(inputs, name, there)
        for name in inputs
    }
    reference, kind = (_text(entry, key, where, "") or None for key in ("reference", "kind"))
    return Question(_text(entry, "query", where), texts, reference, kind, updates=updates)


def _updates(entries: list[Any], where: str) -> tuple[tuple[float, str], ...]:
    """What is there of an input, and from how many seconds after its request on."""
    found = list[tuple[float, str]]()
    for number, entry in enumerate(entries, start=1):
        place = f"{where}: update {number}"
        at = entry.get("at") if isinstance(entry, Mapping) else None
        if not isinstance(at, int | float) or isinstance(at, bool) or not 0 <= at <= LONGEST_RUN_S:
            raise WorkloadError(f'{place}: needs {{"at": seconds, "text": "..."}}')
        if found and at < found[-1][0]:
            raise WorkloadError(f"{place}: comes at {at:g} s, before the one before it")
        found.append((float(at), _text(entry, "text", place)))
    if not found or not found[-1][1].strip():
        raise WorkloadError(f"{where}: needs updates, of which the last is its whole text")
    return tuple(found)


def _of_turns(entry: Mapping[str, Any], where: str) -> Question:
    turns = entry["turns"]
    first = turns[0] if isinstance(turns, list) and turns else None
    content = first if isinstance(first, Mapping) else {"content": first}
    return Question(_text(content, "content", f"{where}: turns"))


def _of_prompt(entry: Mapping[str, Any], where: str) -> Question:
    return Question(_text(entry, "prompt", where))


def _of_question(entry: Mapping[str, Any], where: str) -> Question:
    answer = _text(entry, "answer", where, "").rpartition("####")[2].strip()
    return Question(_text(entry, "question", where), reference=answer or None)


def _of_instruction(entry: Mapping[str, Any], where: str) -> Question:
    more, output = (_text(entry, key, where, "") for key in ("input", "output"))
    parts = filter(None, [_text(entry, "instruction", where), more])
    return Question("\n\n".join(parts), reference=output or None)


READERS: Mapping[str, Callable[[Mapping[str, Any], str], Question]] = {
    "query": _own,
    "turns": _of_turns,
    "prompt": _of_prompt,
    "question": _of_question,
    "instruction": _of_instruction,
}


def _text(entry: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = entry.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise WorkloadError(f"{where}: {key}: must be a text")
    return value
