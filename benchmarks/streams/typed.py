"""LiveMind (2406.14319): a model takes notes on each piece of a question that is being typed.

Its repository prints, question by question, the tokens of every call and the seconds from the last
letter to the answer (output/mmlu_pro/time_info and, for the small model, the same under new/).
Taken here: the first questions of each file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.streams.played import NO_LIMIT, on_engines
from benchmarks.streams.row import Forecast, Row
from simulator.des.endpoint import EndpointSetup
from staircase import Agent, Pipeline, RequestShape, Schedule, explicit
from staircase.metrics.request_metrics import measure
from staircase.pipeline import Arrival
from staircase.prompt import query
from staircase.timeline import to_ps


@dataclass(frozen=True)
class Typed:
    """A question that is answered with notes.

    Attributes:
        typing_s: until its last letter, 240 of them a minute.
        written: tokens of each note, and at last of the answer.
        prompt: tokens of the last call's prompt.
        latency_s: from the last letter to the end of the answer.
    """

    typing_s: float
    written: tuple[int, ...]
    prompt: int
    latency_s: float


# Of the whole question at once: tokens of its prompt and its answer, and seconds.
LARGE_ALONE = (
    (340, 424, 22.7514),
    (279, 306, 16.6053),
    (252, 323, 17.6291),
    (1178, 250, 14.4466),
    (191, 239, 13.0214),
    (229, 280, 15.3064),
    (296, 295, 16.1234),
    (187, 392, 21.0472),
    (216, 357, 19.2874),
    (126, 83, 4.6566),
    (280, 218, 12.0252),
    (175, 179, 9.7903),
)
SMALL_ALONE = (
    (340, 279, 2.8702),
    (279, 203, 2.0763),
    (252, 281, 2.8585),
    (1178, 200, 2.1557),
    (191, 299, 3.0030),
)
LARGE = (
    Typed(268.0, (18, 33, 34, 53, 57, 56, 51, 36, 11), 728, 1.4826),
    Typed(257.5, (25, 49, 37, 39, 23, 45, 47, 44, 20), 639, 1.8751),
    Typed(156.5, (32, 47, 65), 363, 4.0661),
    Typed(679.0, (11, 252), 1217, 14.5855),
    Typed(157.5, (38, 50), 258, 3.2372),
    Typed(93.25, (18, 28, 56, 55), 366, 3.5309),
    Typed(230.75, (19, 28, 36, 62, 79), 479, 4.8887),
    Typed(136.75, (21, 90), 237, 5.3594),
    Typed(93.5, (17, 49, 168), 314, 9.4422),
    Typed(37.75, (55, 6), 210, 0.9211),
    Typed(276.5, (39, 49), 347, 3.2005),
    Typed(68.25, (23, 33, 53, 30), 320, 2.1955),
)
# The large model takes the notes, the small one answers.
SMALL = (
    Typed(268.0, (29, 40, 27, 31, 56, 49, 129, 34, 6), 777, 0.1824),
    Typed(257.5, (29, 48, 55, 18, 31, 42, 34, 33, 51), 612, 0.6249),
    Typed(156.5, (32, 20, 7), 334, 0.1407),
    Typed(679.0, (189, 6), 1394, 0.2202),
    Typed(157.5, (30, 6), 249, 0.1324),
    Typed(93.25, (28, 24, 79, 69), 392, 0.7889),
    Typed(230.75, (25, 26, 117, 50, 7), 548, 0.1650),
)


def engine(alone: Sequence[tuple[int, int, float]]) -> EndpointSetup:
    """Seconds of a token of a prompt and of one that is written, from answers to whole questions;
    nothing is cached, as in vLLM 0.5.3."""
    tokens = np.array([row[:2] for row in alone], dtype=np.float64)
    taken_s = np.array([row[2] for row in alone])
    (prompt_s, token_s), *_ = np.linalg.lstsq(tokens, taken_s, rcond=None)
    return EndpointSetup(to_ps(token_s), to_ps(token_s), ttft_per_token_ps=to_ps(prompt_s))


def answered(typed: Typed, speaker: EndpointSetup, thinker: EndpointSetup) -> float:
    """Seconds from the last letter to the end of the answer; the pieces of a question come evenly,
    and each but the last gets a note."""
    notes, pieces = typed.written[:-1], len(typed.written)
    pipeline = Pipeline(
        (
            Agent("begin", arrival=Arrival(pieces / typed.typing_s), max_tokens=NO_LIMIT),
            Agent("end", arrival=Arrival(1 / typed.typing_s), max_tokens=NO_LIMIT),
            Agent("notes", "thinker", ("begin",), max_tokens=NO_LIMIT),
            Agent("answer", "speaker", ("begin", "notes", "end"), max_tokens=NO_LIMIT),
        ),
        "answer",
    )
    steps = explicit([(read, written) for read, written in enumerate(notes, 1)])
    tokens = {"begin": len(notes), "end": 1, "notes": sum(notes), "answer": typed.written[-1]}
    asked = typed.prompt - pieces - sum(notes)
    shape = RequestShape({query("notes"): asked, query("answer"): asked}, tokens, "length")
    engines = {"thinker": thinker, "speaker": speaker}
    schedule = Schedule({"notes": steps}, "interleave")
    return measure(on_engines(pipeline, schedule, shape, engines)).last_after_input_s


def mean_s(questions: Sequence[Typed], speaker: EndpointSetup) -> float:
    thinker = engine(LARGE_ALONE)
    return float(np.mean([answered(typed, speaker, thinker) for typed in questions]))


def livemind() -> Iterator[Row]:
    """What the models take for whole questions says how fast they are; the rest follows."""
    large, small = engine(LARGE_ALONE), engine(SMALL_ALONE)
    for typed in LARGE:
        what = f"70B, {len(typed.written) - 1} notes, {typed.written[-1]} tokens after the question"
        found = answered(typed, large, large)
        yield Forecast("LiveMind", what, typed.latency_s, found, " s", "cross-checked")
    for name, questions, speaker in (("70B", LARGE, large), ("8B after 70B", SMALL, small)):
        published = float(np.mean([typed.latency_s for typed in questions]))
        what = f"{name}, mean of {len(questions)} questions"
        found = mean_s(questions, speaker)
        yield Forecast("LiveMind", what, published, found, " s", "cross-checked")
    alone = float(np.mean([row[2] for row in LARGE_ALONE]))
    less = alone / float(np.mean([typed.latency_s for typed in LARGE]))
    found = alone / mean_s(LARGE, large)
    what = "70B, the same 12 without notes over with them"
    yield Forecast("LiveMind", what, less, found, "x", "cross-checked")


SYSTEMS = (livemind,)
