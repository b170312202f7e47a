"""``staircase judge``: two runs of the same requests, compared by a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from executor.scoring.judge import Judge
from executor.scoring.verdicts import Pairing
from planner.evaluation.win_rate import JudgedPair, WinRates, win_rates
from staircase.errors import RecordError
from staircase.records import Record, read_records


@dataclass(frozen=True)
class AnswerPair:
    """One request, answered by both runs."""

    request: int
    question: str
    reference: str | None
    baseline: str
    candidate: str

    @property
    def games(self) -> tuple[Pairing, Pairing]:
        """Baseline first, then candidate first."""
        return (
            Pairing(self.question, self.baseline, self.candidate, self.reference),
            Pairing(self.question, self.candidate, self.baseline, self.reference),
        )


@dataclass(frozen=True)
class AnswerPairs:
    """Two runs, request by request.

    Attributes:
        baseline_only, candidate_only: requests that only one run answered: the other broke off,
            wrote nothing, or was not asked.
        unanswered: requests that neither did.
    """

    pairs: tuple[AnswerPair, ...]
    baseline_only: int
    candidate_only: int
    unanswered: int


@dataclass(frozen=True)
class Judgement:
    """Two runs and what the judge said of them.

    Attributes:
        failure: of one of the calls that failed, what went wrong.
    """

    answers: AnswerPairs
    rates: WinRates
    failure: str | None

    def as_json(self) -> dict[str, Any]:
        """Everything but the texts."""
        counts = {
            name: getattr(self.answers, name)
            for name in ("baseline_only", "candidate_only", "unanswered")
        }
        return {**asdict(self.rates), **counts, "failure": self.failure}


def read_pairs(baseline: Path, candidate: Path) -> AnswerPairs:
    """The answers in two records of the same requests.

    Raises:
        RecordError: a record holds no answers, or they are not of the same questions.
    """
    ours, theirs = _answers(baseline), _answers(candidate)
    for number in sorted(ours.keys() & theirs.keys()):
        if ours[number].question != theirs[number].question:
            raise RecordError(
                f"{candidate}: request {number} asks something else than in {baseline}; "
                "must be runs of the same requests, with the same --requests and scenario"
            )
    both = [n for n in sorted(ours.keys() & theirs.keys()) if ours[n].answer and theirs[n].answer]
    answered = {n for n in ours if ours[n].answer}, {n for n in theirs if theirs[n].answer}
    return AnswerPairs(
        tuple(_pair(ours[number], theirs[number]) for number in both),
        len(answered[0] - set(both)),
        len(answered[1] - set(both)),
        len((ours.keys() | theirs.keys()) - answered[0] - answered[1]),
    )


def _answers(path: Path) -> Mapping[int, Record]:
    """Records by request."""
    records = read_records(path)
    if all(record.question is None for record in records):
        raise RecordError(f"{path}: holds no answers; 'staircase run --save' writes them")
    return {record.request: record for record in records}


def _pair(ours: Record, theirs: Record) -> AnswerPair:
    return AnswerPair(
        ours.request,
        ours.question or "",
        ours.reference,
        ours.answer or "",
        theirs.answer or "",
    )


def judge_pairs(judge: Judge, answers: AnswerPairs, on_done: Callable[[], None]) -> Judgement:
    """Plays both games of every pair."""
    rulings = judge.rule(all_pairings(answers), on_done)
    judged = [
        JudgedPair(
            pair.request,
            rulings[2 * place],
            rulings[2 * place + 1],
            len(pair.candidate) - len(pair.baseline),
        )
        for place, pair in enumerate(answers.pairs)
    ]
    failures = (ruling.words for ruling in rulings if ruling.fate == "failed")
    return Judgement(answers, win_rates(judged), next(failures, None))


def all_pairings(answers: AnswerPairs) -> Sequence[Pairing]:
    return [game for pair in answers.pairs for game in pair.games]
