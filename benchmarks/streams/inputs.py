"""Systems that think or speak while their input still comes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.streams.played import input_and_reader, played
from benchmarks.streams.row import Forecast, Row, Said
from staircase import Schedule, constant, uniform
from staircase.metrics.request_metrics import RequestMetrics

SENTENCE_TOKENS = 16


def whole_and_in_pieces(
    tokens_per_s: float, itl_s: float, pieces: int, piece_tokens: int
) -> tuple[RequestMetrics, RequestMetrics]:
    """A reader that writes as much as it reads, after all of it and piece by piece."""
    pipeline = input_and_reader(tokens_per_s, piece_tokens)
    length = pieces * piece_tokens
    tokens = {"seen": length, "z": length}
    in_pieces = uniform(pipeline, constant(piece_tokens, piece_tokens, piece_tokens))
    schedules = (Schedule(), in_pieces)
    whole, streamed = (played(pipeline, one, tokens, {"z": itl_s}) for one in schedules)
    return whole, streamed


def speak_while_watching() -> Iterator[Row]:
    """A video of 20 s at 5 tokens a second; speaking about it takes as long as seeing it."""
    for piece_tokens in (1, 10):
        whole, streamed = whole_and_in_pieces(5.0, 0.2, 100 // piece_tokens, piece_tokens)
        what = f"balanced, at most, pieces of {piece_tokens / 5:g} s"
        yield Forecast("Speak While Watching", what, 2.0, whole.e2e_s / streamed.e2e_s, "x")


def streaming_thinker() -> Iterator[Row]:
    """Thinking begins with the first of n sentences in place of the last, and keeps up."""
    for sentences in (4, 5, 6):
        whole, streamed = whole_and_in_pieces(5.0, 0.01, sentences, SENTENCE_TOKENS)
        found = f"{streamed.ttft_s / whole.ttft_s - 1:.0%} with {sentences} sentences"
        yield Said("StreamingThinker", "wait before thinking: −80 %", found)
    whole, streamed = whole_and_in_pieces(5.0, 0.01, 5, SENTENCE_TOKENS)
    left = streamed.last_after_input_s / whole.last_after_input_s - 1
    published = "time to the answer: more than −60 %"
    yield Said("StreamingThinker", published, f"{left:.0%} with 5 sentences, no depth", "holds")


def think_as_you_see() -> Iterator[Row]:
    """Frames of any length: the first thought comes before the last of them."""
    _, streamed = whole_and_in_pieces(16.0, 0.02, 10, SENTENCE_TOKENS)
    first_s = streamed.ttft_s - streamed.input_s
    found = f"{first_s:.1f} s, counted from the last of 10 frames, one a second"
    yield Said("Think-as-You-See", "first token near 0", found, "holds")
    found = "all frames together take 10.6 s to encode and read"
    yield Said("Think-as-You-See", "without it: 10.6 s", found)


def shares() -> Iterator[Row]:
    """Times that are proportional to the tokens which are left after the end of the input."""
    for published in (0.84, 0.716):
        words = f"{1 - published:.1%} of the tokens are written after the last word"
        yield Said("LiveMind", f"latency −{published:.1%}", words)
    found = "63 % of what the small model writes alone is left, if that is the baseline"
    yield Said("LiveMind", "70B thinks, 8B speaks: −37 %", found)
    found = "half of the first sentence is kept, and the check costs nothing"
    yield Said("PredGen", "first sentence about 2x sooner", found)
    found = "44 % of the decoding is left: what it trains for is given, not forecast"
    yield Said("Think While Watching", "−56 % output tokens", found)


SYSTEMS = (speak_while_watching, streaming_thinker, think_as_you_see, shares)
