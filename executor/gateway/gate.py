"""What a pipeline is too much for: a gate sends such requests to the single model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from executor.gateway.api.conversation import asked_text
from staircase.workload import Question


@dataclass(frozen=True)
class Gate:
    """Requests that one model answers: any of these that is given is enough.

    Attributes:
        shorter_than: characters of all that the user said.
        matches: is found in the last thing that the user said.
        classifier: the user's function of the last thing that the user said.
    """

    shorter_than: int | None = None
    matches: re.Pattern[str] | None = None
    classifier: Callable[[str], object] | None = None

    def is_for_one(self, question: Question) -> bool:
        """Whether a single model shall answer; may take as long as the user's function does."""
        if self.shorter_than is not None:
            said = sum(map(len, asked_text(question)))
            if said < self.shorter_than:
                return True
        if self.matches is not None and self.matches.search(question.query):
            return True
        return bool(self.classifier and self.classifier(question.query))
