"""Goes to places and takes the time there, through the engine itself."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from executor.engine import Engine
from executor.measure.call_recorder import CallRecorder, begin, serve
from executor.measure.grid_points import (
    DECODE_RUN,
    WIDE_RUN,
    Decode,
    GridPoint,
    Mixed,
    Prefill,
    Wide,
)

# Fewer tell nothing: the calls did not decode together.
LEAST_GAPS = 4
HEADER_PROMPT = 8
HEADER_TRIES = 4


@dataclass(frozen=True)
class Target:
    """An engine to be measured.

    Attributes:
        draw: makes a prompt of so many tokens that nobody has seen.
        max_batch: calls that it serves at once, at most so many are tried.
        mixed_tokens: of a prompt that it prefills beside decodes in one iteration; 0: it does not.
        widest_pass: tokens of a call that one of its passes computes, guesses among them.
        is_remote: a call's time before its prefill begins is not known apart.
        reports_cached: it says how much of a prompt was cached.
        counts_tokens: what it says is in tokens of its prompts; else in smaller ones of a server.
        header_tokens: what it says of prompts of which it knows nothing, see ``with_header``.
        shares_headers: a measured request finds the headers that others left in its cache.
        now_ns: the clock of its times.
    """

    engine: Engine
    draw: Callable[[int], list[int]]
    max_prompt_tokens: int
    max_batch: int = 1
    mixed_tokens: int = 0
    widest_pass: int = 1
    is_remote: bool = False
    reports_cached: bool = True
    counts_tokens: bool = True
    header_tokens: int = 0
    shares_headers: bool = True
    now_ns: Callable[[], int] = time.perf_counter_ns

    def beyond_header(self, cached: int) -> int:
        """Of so many ``cached`` tokens."""
        return max(0, cached - self.header_tokens)


def with_header(target: Target) -> Target:
    """``target``, knowing what a chat template puts before every prompt, and a cache has of it.

    Raises:
        RuntimeError: a call failed.
    """
    if not (target.is_remote and target.reports_cached):
        return target
    tokens = min(HEADER_PROMPT, target.max_prompt_tokens)
    found = [known_tokens(target, target.draw(tokens)) for _ in range(HEADER_TRIES)]
    # Two random prompts may begin alike; and the first one finds nothing.
    return replace(target, header_tokens=min(found[1:]))


def known_tokens(target: Target, prompt: list[int]) -> int:
    """Of ``prompt``, what was found in the cache beyond the header; raises RuntimeError."""
    return target.beyond_header(serve(target.engine, [prompt], 1).reports[0].cached_tokens)


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        seconds: of iterations there; none if the measure_at failed to be what it should be.
        wait_s: from submission to the beginning of the prefill.
        took_s: the measure_at and its preparation.
    """

    place: GridPoint
    seconds: tuple[float, ...]
    wait_s: float
    took_s: float


def measure_at(target: Target, place: GridPoint) -> Sample:
    """Raises RuntimeError if a call fails."""
    entered_ns = target.now_ns()
    if isinstance(place, Prefill):
        seconds, wait_s = _prefill(target, place)
    elif isinstance(place, Decode):
        seconds, wait_s = _decode(target, place)
    elif isinstance(place, Wide):
        seconds, wait_s = _wide(target, place)
    else:
        seconds, wait_s = _mixed(target, place)
    return Sample(place, tuple(seconds), wait_s, (target.now_ns() - entered_ns) / 1e9)


def _prefill(target: Target, place: Prefill) -> tuple[list[float], float]:
    prompt = target.draw(place.new_tokens + place.cached_tokens)
    if place.cached_tokens:
        serve(target.engine, [prompt[: place.cached_tokens]], 1)
    submitted_ns = target.now_ns()
    recorder = serve(target.engine, [prompt], 1)
    report = recorder.reports[0]
    wait_s = (report.started_ns - submitted_ns) / 1e9
    is_as_meant = not target.reports_cached or _is_known(target, place, report.cached_tokens)
    return ([ttft_s(recorder)] if is_as_meant else []), wait_s


def _is_known(target: Target, place: Prefill, cached: int) -> bool:
    """Whether so much was ``cached`` of the prompt as should have been."""
    known = target.beyond_header(cached)
    if target.counts_tokens or not place.cached_tokens:
        return known == place.cached_tokens
    return known >= place.cached_tokens


def ttft_s(recorder: CallRecorder) -> float:
    """Of the first call, from the beginning of its prefill.

    Raises:
        RuntimeError: it wrote nothing.
    """
    if not recorder.times_ns[0]:
        raise RuntimeError("a call wrote nothing, so there is no time to its first token")
    return (recorder.times_ns[0][0] - recorder.reports[0].started_ns) / 1e9


def _decode(target: Target, place: Decode) -> tuple[list[float], float]:
    """Several prompts are known before, so that their calls decode from the beginning."""
    prompts = _prompts(target, place)
    submitted_ns = target.now_ns()
    recorder = serve(target.engine, prompts, DECODE_RUN + 1)
    gaps = recorder.joint_gaps_s()
    is_enough = len(gaps) >= LEAST_GAPS or (len(gaps) == 1 and gaps[0] > 0)
    wait_s = (recorder.reports[0].started_ns - submitted_ns) / 1e9
    return (gaps if is_enough else []), wait_s


def _wide(target: Target, place: Wide) -> tuple[list[float], float]:
    """The last passes of a call are narrower, as not more is left to write, and are not timed."""
    prompts = _prompts(target, place)
    submitted_ns = target.now_ns()
    recorder = serve(target.engine, prompts, WIDE_RUN + place.width, place.width)
    gaps = _gaps_s(recorder.joint_times_ns())[:WIDE_RUN]
    wait_s = (recorder.reports[0].started_ns - submitted_ns) / 1e9
    return (gaps if len(gaps) >= LEAST_GAPS else []), wait_s


def _gaps_s(times_ns: Sequence[int]) -> list[float]:
    """Between passes: tokens of one are there at the same moment."""
    passes = sorted(set(times_ns))
    return [(after - before) / 1e9 for before, after in pairwise(passes)]


def _prompts(target: Target, place: Decode | Mixed | Wide) -> list[list[int]]:
    # Their lengths differ, as those of calls mostly do; that may cost an engine a little more.
    lengths = [max(1, place.context_tokens - number) for number in range(place.batch)]
    prompts = [target.draw(length) for length in lengths]
    if place.batch > 1:
        serve(target.engine, prompts, 1)
    return prompts


def _mixed(target: Target, place: Mixed) -> tuple[list[float], float]:
    """The iteration in which the prompt's prefill began, between two tokens of a call."""
    late, prompt = list[CallRecorder](), target.draw(place.new_tokens)
    submitted_ns = list[int]()

    def join() -> None:
        submitted_ns.append(target.now_ns())
        late.append(begin(target.engine, [prompt], 1))

    others = begin(target.engine, _prompts(target, place), 2 * DECODE_RUN, join)
    others.wait()
    late[0].wait()
    times, report = others.joint_times_ns(), late[0].reports[0]
    after = bisect_right(times, report.started_ns)
    is_as_meant = 0 < after < len(times) and not report.cached_tokens
    seconds = [(times[after] - times[after - 1]) / 1e9] if is_as_meant else []
    return seconds, (report.started_ns - submitted_ns[0]) / 1e9
