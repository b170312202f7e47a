"""Text of a model that thinks, told apart as it comes: a thought between tags, then the answer.

Only the beginning of a text may be a thought; space around it is no part of the answer. The same
text has the same thought and answer however it is cut into pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# ``new``: nothing is known yet; ``closed``: the thought is over, the answer has not begun.
State = Literal["new", "open", "closed", "answer"]


@dataclass
class ThoughtText:
    """The text of one answer.

    Attributes:
        state: what the text so far is; ``answer`` is the last.
        thought: what was thought so far, as far as it cannot be a piece of the closing tag.
        has_thought: whether the text begins with a thought.
    """

    tags: tuple[str, str]
    state: State = "new"
    thought: str = ""
    has_thought: bool = False
    _rest: str = field(default="", repr=False)

    @property
    def is_answered(self) -> bool:
        """Whether all that comes is of the answer."""
        return self.state == "answer"

    def add(self, piece: str) -> str:
        """What ``piece`` adds to the answer."""
        self._rest += piece
        while self.state != "answer":
            if not (self._think() if self.state == "open" else self._begin()):
                return ""
        shown, self._rest = self._rest, ""
        return shown

    def open(self) -> None:
        """The text begins within a thought."""
        self.state, self.has_thought = "open", True

    def close(self) -> None:
        """The thought ends here, whatever comes."""
        self.thought += self._rest
        self.state, self.has_thought, self._rest = "closed", True, ""

    def end(self) -> str:
        """What is left to add to the answer: it may look like the beginning of a tag."""
        rest, self._rest = self._rest, ""
        if self.state == "open":
            self.thought += rest
            return ""
        if self.state == "closed":
            rest = rest.lstrip()
        return rest

    def _begin(self) -> bool:
        """A thought opens, one that is closed is closed again, or the answer begins; whether."""
        is_new = self.state == "new"
        tag, rest = self.tags[0 if is_new else 1], self._rest.lstrip()
        if rest.startswith(tag):
            self.state, self._rest = "open" if is_new else "closed", rest[len(tag) :]
            self.has_thought = True
            return True
        if tag.startswith(rest):
            return False
        self.state, self._rest = "answer", self._rest if is_new else rest
        return True

    def _think(self) -> bool:
        """Whether the thought ends."""
        thought, tag, after = self._rest.partition(self.tags[1])
        if tag:
            self.thought += thought
            self.state, self._rest = "closed", after
            return True
        # As much as may belong to the tag stays.
        border = max(0, len(thought) - len(self.tags[1]) + 1)
        self.thought += thought[:border]
        self._rest = thought[border:]
        return False
