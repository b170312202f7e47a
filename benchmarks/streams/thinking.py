"""Systems that think while they read or watch, with what they take beside it published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.streams.played import input_and_reader, on_engines, played
from benchmarks.streams.row import Forecast, Row
from simulator.des.endpoint import EndpointSetup
from staircase import RequestShape, Schedule, constant, uniform
from staircase.metrics.request_metrics import RequestMetrics, measure
from staircase.prompt import query
from staircase.timeline import to_ps


@dataclass(frozen=True)
class Task:
    """StreamingThinker (2510.17238), table 3: Qwen3-4B, the context before the question.

    Attributes:
        input: tokens of a question with its context.
        sentence: tokens of its first sentence, which is what is read before the first thought.
        thought: tokens of three depths: while it is read, with a summary after it, with a review.
        delay_s: of each depth, from the end of the input to the answer.
    """

    name: str
    input: float
    sentence: float
    thought: tuple[float, float, float]
    delay_s: tuple[float, float, float]


TASKS = (
    Task("GSM-Symbolic", 94.74, 18.68, (165.42, 451.81, 797.63), (0.77, 9.23, 20.45)),
    Task("MetaMathQA", 100.51, 20.40, (114.50, 463.59, 617.36), (0.94, 11.59, 16.71)),
    Task("ProofWriter", 232.11, 8.12, (457.91, 697.20, 875.19), (1.06, 7.33, 13.11)),
    Task("LogicNLI", 350.08, 5.60, (604.84, 927.35, 1122.32), (0.89, 10.24, 16.55)),
    Task("HotPotQA", 1485.55, 46.39, (1172.36, 1266.41, 1381.73), (1.62, 5.90, 12.14)),
    Task("PubMedQA", 357.47, 31.49, (298.51, 475.63, 687.45), (1.12, 5.54, 12.43)),
)
# All thought after the input, GSM-Symbolic: so many tokens in so many seconds.
WHOLE_TOKENS, WHOLE_S = 1483.65, 48.20
# Table 4, of 100 questions: words, a word's seconds, sentences; seconds of a sentence's prompt and
# of a token; seconds to the first one.
WORDS, WORD_S, SENTENCES = 69.86, 0.4, 4.65
SENTENCE_S, TOKEN_S, FIRST_S = 0.041, 0.037, 6.231
INPUT_TOKENS_PER_S = TASKS[0].input / (WORDS * WORD_S)


def thought(task: Task, depth: int) -> RequestMetrics:
    """Every sentence's share of the thinking is written while the next ones come."""
    sentence = round(task.sentence)
    count = round(task.input / task.sentence)
    pipeline = input_and_reader(INPUT_TOKENS_PER_S, sentence)
    steps = constant(sentence, sentence, round(task.thought[0] / count))
    tokens = {"seen": count * sentence, "z": round(task.thought[depth])}
    return played(pipeline, uniform(pipeline, steps), tokens, {"z": WHOLE_S / WHOLE_TOKENS})


def first_thought_s() -> float:
    """Of a question in words, each sentence as long as the others."""
    sentence = round(WORDS / SENTENCES)
    pipeline = input_and_reader(1 / WORD_S, sentence)
    engine = EndpointSetup(to_ps(SENTENCE_S + TOKEN_S), to_ps(TOKEN_S))
    shape = RequestShape({query("z"): 1}, {"seen": round(WORDS), "z": 439}, "length")
    schedule = uniform(pipeline, constant(sentence, sentence, 16))
    return measure(on_engines(pipeline, schedule, shape, {"z": engine})).ttft_s


def streaming_thinker() -> Iterator[Row]:
    """Whole thinking gives the seconds of a token; what is left after the input follows."""
    for task in TASKS:
        for depth, published in enumerate(task.delay_s):
            what = f"{task.name}, depth {depth + 1}, answer after the input"
            found = thought(task, depth).last_after_input_s
            yield Forecast("StreamingThinker", what, published, found, " s", "cross-checked")
    what = "first thought, 70 words at 150 a minute"
    yield Forecast("StreamingThinker", what, FIRST_S, first_thought_s(), " s")


# Think-as-You-See (2603.02872), table 2: Qwen2.5-VL-7B, at 1 to 5 frames a second. Seconds to the
# first token and to the end of the answer with all frames first; to the end of the answer where
# frames wait for thoughts; and where they do not.
FRAMES_PER_S = (1, 2, 3, 4, 5)
BATCH_FIRST_S = (10.36, 10.48, 10.62, 10.77, 10.93)
BATCH_S = (12.05, 13.90, 12.93, 13.08, 13.12)
INTERLEAVED_S = (12.94, 14.19, 16.15, 18.03, 20.13)
PARALLEL_S = (12.06, 12.19, 12.32, 12.30, 12.31)
TICK_S = 0.01


@dataclass(frozen=True)
class Watching:
    """What four of its figures fix.

    Attributes:
        video_s: that all frames take to come.
        frame_s: that a frame's prompt takes.
        answer_s: from the first token to the last.
        thought_s: of a frame.
    """

    video_s: float
    frame_s: float
    answer_s: float
    thought_s: float

    def frames(self, per_s: int) -> int:
        return round(self.video_s * per_s)

    def all_first(self, per_s: int, *, thoughts: bool) -> RequestMetrics:
        """All frames, then their thoughts if there are any, then the answer."""
        return self._watched(per_s, self.frame_s * (not thoughts), thoughts, Schedule())

    def thinking(self, per_s: int) -> RequestMetrics:
        """A thought for each frame, while the next ones come."""
        thought = round(self.thought_s / TICK_S)
        pipeline = input_and_reader(per_s, 1)
        return self._watched(per_s, 0.0, True, uniform(pipeline, constant(1, 1, thought)))

    def _watched(
        self, per_s: int, prompt_s: float, thoughts: bool, schedule: Schedule
    ) -> RequestMetrics:
        frames = self.frames(per_s)
        written_s = self.answer_s + thoughts * frames * self.thought_s
        tick = to_ps(TICK_S)
        engine = EndpointSetup(tick, tick, ttft_per_token_ps=to_ps(prompt_s))
        tokens = {"seen": frames, "z": round(written_s / TICK_S)}
        shape = RequestShape({query("z"): 0}, tokens, "length")
        return measure(on_engines(input_and_reader(per_s, 1), schedule, shape, {"z": engine}))


def watching() -> Watching:
    """From the first token at 1 and 5 frames a second, the answer after it at 1, and the end of
    interleaved thinking at 5."""
    video_s = (5 * BATCH_FIRST_S[0] - BATCH_FIRST_S[-1]) / 4
    frame_s = (BATCH_FIRST_S[-1] - BATCH_FIRST_S[0]) / (4 * video_s)
    answer_s = BATCH_S[0] - BATCH_FIRST_S[0]
    thought_s = (INTERLEAVED_S[-1] - video_s - answer_s) / (5 * video_s)
    return Watching(video_s, frame_s, answer_s, thought_s)


def think_as_you_see() -> Iterator[Row]:
    """Frames that wait for thoughts take as long as thoughts after all frames."""
    fixed = watching()
    for name, published, found in (
        ("all first, last token", BATCH_S, lambda per_s: fixed.all_first(per_s, thoughts=False)),
        ("interleaved, last token", INTERLEAVED_S, lambda n: fixed.all_first(n, thoughts=True)),
        ("meanwhile, last token", PARALLEL_S, fixed.thinking),
    ):
        for per_s, figure in zip(FRAMES_PER_S, published, strict=True):
            if (published, per_s) not in ((BATCH_S, 1), (INTERLEAVED_S, 5)):
                what = f"{name}, {per_s} frames a second"
                last_s = found(per_s).e2e_s
                yield Forecast("Think-as-You-See", what, figure, last_s, " s", "cross-checked")


SYSTEMS = (streaming_thinker, think_as_you_see)
