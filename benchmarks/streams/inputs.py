"""Systems that speak or take notes while their input still comes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.streams.played import input_and_reader, played
from benchmarks.streams.row import Forecast, Row, Said
from staircase import Schedule, constant, uniform
from staircase.metrics.request_metrics import RequestMetrics


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


def think_while_watching() -> Iterator[Row]:
    found = "44 % of the decoding is left: what it trains for is given, not forecast"
    yield Said("Think While Watching", "−56 % output tokens", found)


SYSTEMS = (speak_while_watching, think_while_watching)
