"""What comes as an input, in token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from executor.engine import TextUpdate, Tokens
from executor.prefix import common_prefix
from staircase.revisions.updates import Update
from staircase.workload import Question


@dataclass(frozen=True)
class InputText:
    """Of one question.

    Attributes:
        ids: what stands in the end.
        updates: how it comes, if it replaces part of what it said.
    """

    ids: Sequence[int]
    updates: Sequence[TextUpdate] = ()

    @property
    def shape(self) -> tuple[Update, ...]:
        """The updates as lengths."""
        return tuple(Update(one.seconds, one.standing, len(one.ids)) for one in self.updates)


def input_text(tokens: Tokens, question: Question, name: str) -> InputText:
    """Each update keeps what it begins with alike."""
    updates, there = list[TextUpdate](), list[int]()
    for seconds, text in question.updates.get(name, ()):
        ids = tokens.encode(text)
        alike = common_prefix(there, ids)
        updates.append(TextUpdate(seconds, alike, ids[alike:]))
        there = ids
    return InputText(tokens.encode(question.input(name)), updates)
