"""What a reader finds wrong with the text of an answer, told from the text alone.

    leaks       texts of the prompt that stand in the answer: labels, instructions; marks of turns
    repetition  1 − distinct / all runs of four words in a row: seq-rep-4 (Welleck et al. 2020,
                arXiv 1908.04319); 0 for less than four words
    seams       places where a step went on with the text and one can see it
    strange     share of letters of a script that neither the question nor a draft has

A seam is seen where the words before it, or the beginning of their sentence, come again; where two
words run into each other; and where a line breaks off within a sentence.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from staircase.metrics.request_metrics import Summary, summarize

RUN = 4
# So many words again are no chance.
AGAIN = 3
# What chat templates put around turns and thoughts: <|im_start|>, [INST], </s>, </think>.
MARK = re.compile(
    r"<[|｜]\w[^\s<>]*>|<\w[^\s<>]*[|｜]>|<(?:start|end)_of_\w+>|</?(?:s|think)>|<[be]os>"
    r"|\[/?INST\]|\[/?SYSTEM_PROMPT\]|\[\|\w+\|\]|<</?SYS>>"
)
# Shorter lines stand in answers by chance, as the signs of lists do.
SHORTEST = 3
# How far around a seam its words are told.
SHOWN = 24
ENDS = ".!?:;…\"'”)]"
ITEM = re.compile(r"\s*([-*•#>]|\d+[.)])")


@dataclass(frozen=True)
class TextFaults:
    """Of one answer.

    Attributes:
        leaks: what of the prompt stands in it, each as often as it does.
        seams: the text around each seam that can be seen, which is marked ``|``.
    """

    leaks: tuple[str, ...]
    repetition: float
    seams: tuple[str, ...]
    strange: float

    @property
    def words(self) -> list[str]:
        """What is wrong, the worst first."""
        found = [f"says “{piece}” of its prompt" for piece in dict.fromkeys(self.leaks)]
        found += [f"shows a seam: “{text}”" for text in self.seams]
        if self.repetition:
            found.append(f"repeats {self.repetition:.0%} of its runs of four words")
        if self.strange:
            found.append(f"has {self.strange:.0%} of its letters in another script")
        return found

    @property
    def weight(self) -> float:
        """To find the worst answers by."""
        return len(self.leaks) + len(self.seams) + self.repetition + self.strange


def find_faults(
    steps: Sequence[str], prompt_texts: Iterable[str], contents: Iterable[str]
) -> TextFaults:
    """Of the answer that ``steps`` make together, one for each call that wrote some of it.

    Args:
        prompt_texts: the prompt's own texts, which do not grow: no question and no draft.
        contents: question and drafts.
    """
    answer = "".join(steps)
    return TextFaults(
        tuple(_leaks(answer, prompt_texts)),
        repetition(answer),
        tuple(_seams(steps)),
        _strange(answer, contents),
    )


def text_figures(faults: Sequence[TextFaults]) -> dict[str, Summary]:
    """Shares: of answers, of runs of words, of letters."""
    return {
        "leaks": summarize([float(bool(one.leaks)) for one in faults]),
        "seams": summarize([float(bool(one.seams)) for one in faults]),
        "repetition": summarize([one.repetition for one in faults]),
        "strange": summarize([one.strange for one in faults]),
    }


def _leaks(answer: str, prompt_texts: Iterable[str]) -> Iterator[str]:
    yield from MARK.findall(answer)
    whole = Counter(line.strip().lower() for line in answer.splitlines())
    for piece in sorted(_pieces(prompt_texts)):
        if _is_phrase(piece):
            found = re.findall(rf"(?<!\w){re.escape(piece)}(?!\w)", answer, re.IGNORECASE)
            yield from [piece] * len(found)
        else:
            yield from [piece] * whole[piece.lower()]


def _pieces(prompt_texts: Iterable[str]) -> set[str]:
    """The lines, without marks."""
    lines = [line for text in prompt_texts for line in text.splitlines()]
    pieces = {piece.strip() for line in lines for piece in MARK.split(line)}
    return {piece for piece in pieces if len(piece) >= SHORTEST}


def _is_phrase(piece: str) -> bool:
    """No answer has it by chance, even within a line: two words, or a label."""
    words = re.findall(r"\w+", piece)
    return len(words) > 1 or (bool(words) and piece.endswith(":"))


def repetition(text: str) -> float:
    """seq-rep-4."""
    words = text.lower().split()
    runs = [tuple(words[place : place + RUN]) for place in range(len(words) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _seams(steps: Sequence[str]) -> Iterator[str]:
    texts = list(accumulate(step for step in steps if step))
    for before, longer in pairwise(texts):
        after = longer[len(before) :]
        if _comes_again(before, after) or _runs_together(before, after) or _breaks(before, after):
            yield f"{before[-SHOWN:]}|{after[:SHOWN]}"


def _comes_again(before: str, after: str) -> bool:
    """The last words, or the first ones of the sentence that they are in."""
    old, new = before.lower().split(), after.lower().split()
    sentence = re.split(r"[.!?\n]", before.lower())[-1].split()
    most = min(len(old), len(new))
    again = any(old[-count:] == new[:count] for count in range(AGAIN, most + 1))
    return again or (len(new) >= AGAIN and sentence[:AGAIN] == new[:AGAIN])


def _runs_together(before: str, after: str) -> bool:
    """As in “the reasonThe reason”: small letters, then a capital and small ones."""
    return before[-1:].islower() and bool(re.match(r"[^\W\d_]", after)) and after[0].isupper()


def _breaks(before: str, after: str) -> bool:
    """Items of lists and headings may end without a stop."""
    line = before.splitlines()[-1] if before.strip() else ""
    has_stop = not line.strip() or line.rstrip()[-1] in ENDS or bool(ITEM.match(line))
    return after.startswith("\n") and not before.endswith("\n") and not has_stop


def _strange(answer: str, contents: Iterable[str]) -> float:
    known = {_script(letter) for text in contents for letter in set(text) if letter.isalpha()}
    letters = [letter for letter in answer if letter.isalpha()]
    if not letters or not known:
        return 0.0
    return sum(_script(letter) not in known for letter in letters) / len(letters)


def _script(letter: str) -> str:
    """The first word of its name in Unicode, as LATIN or CYRILLIC; Han and kana count as one."""
    name = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA") else name
