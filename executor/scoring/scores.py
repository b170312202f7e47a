"""Task scores: how good an answer is, from 0 to 1, beside its reference.

    exact_match     1 if both are the same text after normalisation, else 0
    f1              2·P·R / (P + R) of their tokens, P and R being the shares of the answer's and
                    the reference's tokens that they have in common, each as often as in both
    field_accuracy  share of the fields that are right, of the embedded tasks alone
    FILE.py:NAME, MODULE:NAME
                    a function of the user's: (question, answer, reference) -> 0..1

Normalisation and token F1 are those of SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250): lower case,
no punctuation, no articles, single spaces.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from executor.embedded import task
from executor.user_functions import first_words, user_function
from staircase.errors import ScenarioError
from staircase.spec.scenario import EMBEDDED, RequestsSpec
from staircase.workload import Question

# Of a question and its answer; None where there is nothing to compare the answer with.
AnswerScorer = Callable[[Question, str], float | None]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, reference: str) -> float:
    return float(normalised(answer) == normalised(reference))


def token_f1(answer: str, reference: str) -> float:
    """Two texts without any token agree; SQuAD 2's rule."""
    ours, theirs = normalised(answer).split(), normalised(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def field_accuracy(answer: str, reference: str) -> float:
    """Of two bulletins."""
    record = {claim.field: claim.value for claim in task.read_claims(reference.split())}
    return task.field_accuracy(answer, record)


NAMED: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "f1": token_f1,
    "field_accuracy": field_accuracy,
}


def answer_scorer(spec: RequestsSpec, folder: Path) -> AnswerScorer:
    """What scores answers as ``spec`` says; ``folder`` is the scenario file's.

    The scorer raises ScenarioError where the user's function fails or returns no number in 0..1.

    Raises:
        ScenarioError: there is no such function.
    """
    name = spec.score or ("field_accuracy" if spec.dataset in EMBEDDED else "exact_match")
    return _by_reference(NAMED[name]) if name in NAMED else _by_user(name, folder)


def _by_reference(compare: Callable[[str, str], float]) -> AnswerScorer:
    def score(question: Question, answer: str) -> float | None:
        return None if question.reference is None else compare(answer, question.reference)

    return score


def _by_user(name: str, folder: Path) -> AnswerScorer:
    function = user_function(
        "requests.score", name, folder, "(question, answer, reference), returning 0 to 1"
    )

    def score(question: Question, answer: str) -> float:
        try:
            found = function(question.text, answer, question.reference)
        except Exception as error:  # the function is the user's
            raise ScenarioError(f"requests.score: {name} failed: {first_words(error)}") from error
        return _checked(name, found)

    return score


def _checked(name: str, found: object) -> float:
    # numpy's numbers are numbers too; NaN fails both comparisons.
    if isinstance(found, int | float | np.number) and 0 <= (score := float(found)) <= 1:
        return score
    raise ScenarioError(
        f"requests.score: {name} returned {found!r:.60}; must return a number from 0 to 1"
    )
