"""PredGen (2506.15556): an answer is begun while its question is still spoken, and checked at the
end of it.

Its repository prints, question by question, how much of the early answer stands and the passes and
seconds to the first sentence and to the end (outputs/, Lmsys, the first questions whose answer has
a sentence).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.streams.played import input_and_reader, on_engines
from benchmarks.streams.row import Forecast, Row
from simulator.des.endpoint import EndpointSetup
from staircase import RequestShape, Schedule, explicit
from staircase.metrics.request_metrics import measure
from staircase.prompt import query
from staircase.revisions.acceptance import EvenAcceptance
from staircase.timeline import to_ps


@dataclass(frozen=True)
class Spoken:
    """An answer.

    Attributes:
        stands: tokens of the early answer that stand at the end of the question.
        sentence_passes: from there to the end of the first sentence; one if all of it stands.
        sentence_s: seconds of these.
        passes: to the end of the answer.
        answer_s: seconds of these.
    """

    stands: int
    sentence_passes: int
    sentence_s: float
    passes: int
    answer_s: float

    @property
    def sentence(self) -> int:
        """Tokens of the first sentence, as far as the passes tell."""
        return self.stands + self.sentence_passes - (self.sentence_passes == 1)


ANSWERS = (
    Spoken(11, 1, 0.0294, 538, 13.9611),
    Spoken(11, 15, 0.3870, 102, 2.6889),
    Spoken(11, 30, 0.7616, 694, 18.1840),
    Spoken(3, 1, 0.0277, 3, 0.1775),
    Spoken(19, 1, 0.0293, 263, 6.7472),
    Spoken(0, 12, 0.3066, 30, 3.0285),
    Spoken(0, 10, 0.2553, 25, 5.3748),
    Spoken(18, 1, 0.0309, 567, 15.0760),
    Spoken(0, 3, 0.1119, 103, 2.9564),
    Spoken(13, 1, 0.0296, 405, 10.5259),
    Spoken(0, 7, 0.1807, 24, 0.8765),
    Spoken(11, 8, 0.2056, 416, 10.7375),
    Spoken(11, 21, 0.5367, 74, 1.9874),
    Spoken(10, 1, 0.0295, 660, 17.0754),
    Spoken(11, 25, 0.6446, 291, 7.6711),
)
LONG_PASSES = 100
GAIN = 2.0
# Words of a question (assumed), at 600 a minute. The early answer is begun on half of them.
QUESTION, WORDS_PER_S = 20, 10.0


def pass_s() -> float:
    """Of a pass, from whole answers that are long enough for it."""
    long = [answer for answer in ANSWERS if answer.passes >= LONG_PASSES]
    return sum(answer.answer_s for answer in long) / sum(answer.passes for answer in long)


def sentence_s(answer: Spoken, *, early: bool) -> float:
    """Seconds from the end of the question to that of the first sentence."""
    pipeline = input_and_reader(WORDS_PER_S, 1)
    engine = EndpointSetup(to_ps(pass_s()), to_ps(pass_s()))
    shape = RequestShape(
        {query("z"): 1},
        {"seen": QUESTION, "z": answer.sentence},
        "length",
        acceptance=EvenAcceptance(1.0),
    )
    schedule = Schedule()
    if early and answer.stands:
        steps = explicit([(QUESTION // 2, answer.stands)])
        schedule = Schedule({"z": steps}, "rebuild", checked=None)
    return measure(on_engines(pipeline, schedule, shape, {"z": engine})).last_after_input_s


def predgen() -> Iterator[Row]:
    """Whole answers say how long a pass takes; what stands is given, not forecast."""
    early, late = (
        sum(sentence_s(answer, early=begun) for answer in ANSWERS) / len(ANSWERS)
        for begun in (True, False)
    )
    published = sum(answer.sentence_s for answer in ANSWERS) / len(ANSWERS)
    what = f"first sentence after the question, mean of {len(ANSWERS)}"
    yield Forecast("PredGen", what, published, early, " s", "cross-checked")
    yield Forecast("PredGen", "first sentence sooner", GAIN, late / early, "x", "cross-checked")


SYSTEMS = (predgen,)
