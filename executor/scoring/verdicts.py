"""What a judge is asked about two answers, and what its reply says.

The protocol is Arena-Hard's (Li et al. 2024, arXiv 2406.11939): two answers side by side, five
labels from ``[[A>>B]]`` to ``[[B>>A]]``, and a reply counts only if all labels in it are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

# How much better A is; 2 is "much better".
STRENGTH = {"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2}
_MIRRORED = {"A<<B": "B>>A", "A<B": "B>A", "B=A": "A=B", "B<A": "A>B", "B<<A": "A>>B"}
_LABEL = re.compile(r"\[\[([AB](?:>>|>|=|<|<<)[AB])\]\]")
_REFUSAL = re.compile(
    r"\W*(?:(?:i am|i'm) (?:very |so )?sorry|sorry\b|i apologi[sz]e|as an ai\b|"
    r"(?:i|we) (?:cannot|can't|can not|won't|will not|(?:am|'m|are) (?:not able|unable)))"
)

TASK = """Two assistants, A and B, have answered the same request. Decide which answer serves the \
person who asked better.

First work out for yourself, in a few lines, what a good answer must contain. Then hold both \
answers against it: are their statements right, do they do what was asked, is anything needed \
missing, is anything there that nobody needs? A mistake weighs more than a missing detail. \
Neither the order in which the answers stand nor their length is a merit in itself.

End with your verdict, exactly one of these labels and only once:
[[A>>B]] A is much better
[[A>B]] A is slightly better
[[A=B]] both are about as good
[[B>A]] B is slightly better
[[B>>A]] B is much better
"""


@dataclass(frozen=True)
class Pairing:
    """Two answers to one question, in the order in which the judge sees them."""

    question: str
    first: str
    second: str
    reference: str | None = None

    @property
    def prompt(self) -> str:
        known = (
            f"\n<known_answer>\n{self.reference}\n</known_answer>\n"
            if self.reference is not None
            else ""
        )
        return (
            f"{TASK}\n<request>\n{self.question}\n</request>\n{known}"
            f"\n<answer_of_A>\n{self.first}\n</answer_of_A>\n"
            f"\n<answer_of_B>\n{self.second}\n</answer_of_B>\n"
        )


@dataclass(frozen=True)
class Ruling:
    """What became of a game.

    Attributes:
        strength: how much better the first answer is, -2 to 2; None without a verdict.
        fate: ``identical``: both answers are the same text, so nobody was asked; ``failed``: the
            judge could not be asked.
        words: the judge's reply, or what failed.
    """

    fate: Literal["verdict", "refusal", "unparsable", "failed", "identical"]
    strength: int | None = None
    words: str = ""


def read_reply(words: str, is_refusal: bool = False) -> Ruling:
    """The ruling in a judge's reply.

    ``is_refusal``: the server said so. Without a label and such a sign, a reply that begins as
    refusals do is taken for one: a guess by its first words.
    """
    found: set[str] = set(_LABEL.findall(words))
    labels = {_MIRRORED.get(label, label) for label in found}
    strengths = [strength for label, strength in STRENGTH.items() if label in labels]
    if len(labels) == len(strengths) == 1:
        return Ruling("verdict", strengths[0], words)
    begins_so = _REFUSAL.match(words.lower().replace("’", "'"))
    if is_refusal or (not labels and begins_so):
        return Ruling("refusal", None, words)
    return Ruling("unparsable", None, words)
