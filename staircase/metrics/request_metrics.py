"""Metrics of timelines; all times in seconds.

As vLLM's ``bench serve`` defines them:

    TTFT   first token of the answer − arrival
    E2E    last token of the answer − arrival
    TPOT   (E2E − TTFT) / (answer tokens − 1)
    ITL    gaps between consecutive tokens of an answer, those of all requests in one pool

Added here:

    smooth start  the earliest moment after arrival from which somebody who reads r tokens a second
                  never waits: S(r) = max_k(a_k − (k − 1)/r), a_k the arrival of answer token k
    stall         what such a reader waits after the first token: S − TTFT
    longest gap   between two consecutive tokens of the answer

    first output   the answering agent's first token, of a thought or of the answer: AIPerf calls
                   this TTFT where models think, and what is TTFT here time to first output token
    thinking       tokens that its agents thought; they count in no other figure of tokens

    input          the last token of its inputs − arrival; where there is one, a user asks how long
                   after that: ``start_after_input_s`` is the smooth start and
                   ``last_after_input_s`` the last token, both counted from there, so they may be
                   below 0
    retracted      tokens that were shown as its answer's and fell, as an input was replaced on
                   which they were written, or as they did not stand when they were checked
    kept           of the tokens that its agents checked, the share that stood

    tokens a pass  of the models' passes that gave tokens, where engines count them: above 1 only
                   where guesses are kept (prompt lookup)

    vote right     the share of its votes that took a right answer, where that is known
    samples        texts on which somebody votes that were begun

    queued time that its calls waited for the beginning of their prefill, summed
    busy   device time of its calls; an iteration that serves several calls counts for each

Requests without a complete answer are left out of summaries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staircase.timeline import PS_PER_S, Span, Timeline, to_s
from staircase.votes import Outcome

# Tokens a second: silent reading of English at 238 words a minute (Brysbaert 2019, Journal of
# Memory and Language 109), four tokens for three words.
READING_RATE = 5.3
RESAMPLES = 500
# Up to so many values an interval is a bootstrap's.
FEW = 200
# Standard deviations from the mean to the ends of a normal 90 % interval.
Z90 = 1.6449
NAN = float("nan")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RequestMetrics:
    ttft_s: float
    smooth_start_s: float
    e2e_s: float
    tpot_s: float
    stall_s: float
    longest_gap_s: float
    queued_s: float
    busy_s: float
    answer_tokens: float
    prefilled_tokens: float
    cached_tokens: float
    first_output_s: float = field(default=NAN, kw_only=True)
    thinking_tokens: float = field(default=NAN, kw_only=True)
    input_s: float = field(default=NAN, kw_only=True)
    start_after_input_s: float = field(default=NAN, kw_only=True)
    last_after_input_s: float = field(default=NAN, kw_only=True)
    retracted_tokens: float = field(default=NAN, kw_only=True)
    kept: float = field(default=NAN, kw_only=True)
    vote_right: float = field(default=NAN, kw_only=True)
    samples: float = field(default=NAN, kw_only=True)
    tokens_per_pass: float = field(default=NAN, kw_only=True)


METRICS: tuple[str, ...] = tuple(field.name for field in fields(RequestMetrics))
# Those that only requests with inputs have.
OF_INPUTS = ("input_s", "start_after_input_s", "last_after_input_s")
# Those that only requests have of whose texts something may fall.
OF_REVISIONS = ("retracted_tokens", "kept")
# Those that only requests with votes have.
OF_VOTES = ("vote_right", "samples")
# Those that not all requests have.
OF_SOME = (*OF_INPUTS, *OF_REVISIONS, *OF_VOTES, "tokens_per_pass")


@dataclass(frozen=True, eq=False)
class Summary:
    """One metric over many requests.

    Attributes:
        low, high: the mean's 90 % interval; NaN of a single request, which has none.
    """

    mean: float
    low: float
    high: float
    p50: float
    p90: float
    p99: float

    @staticmethod
    def of(value: float) -> Summary:
        """Of a figure that is one for the whole run."""
        return Summary(*[value] * 6)

    def of_other_requests(self) -> Summary:
        """The same with the interval of a mean over as many other requests.

        Both samples' means vary alike and independently, so the halves are √2 times as wide.
        """
        low = self.mean - math.sqrt(2) * (self.mean - self.low)
        return replace(self, low=low, high=self.mean + math.sqrt(2) * (self.high - self.mean))

    def within(self, least: float, most: float) -> Summary:
        """The same, cut off where no request's figure can be; NaN stays."""
        return Summary(*(min(max(value, least), most) for value in astuple(self)))

    def __eq__(self, other: object) -> bool:
        """A figure that is NaN in both is equal."""
        return isinstance(other, Summary) and self._known() == other._known()

    def __hash__(self) -> int:
        return hash(self._known())

    def _known(self) -> tuple[float | None, ...]:
        return tuple(None if math.isnan(value) else value for value in astuple(self))


UNDEFINED = Summary.of(NAN)


def measure(timeline: Timeline, reading_rate: float = READING_RATE) -> RequestMetrics:
    """The metrics of one request; NaN where the answer has too few tokens."""
    answer_ps = np.array(timeline.answer_ps, dtype=np.int64) - timeline.arrival_ps
    count = len(answer_ps)
    ttft, e2e = (to_s(int(answer_ps[0])), to_s(int(answer_ps[-1]))) if count else (NAN, NAN)
    smooth_ps = smooth_start(answer_ps, reader_ps(reading_rate))
    thought_ps = timeline.thought_ps if count else None
    input_ps = timeline.input_ps
    input_s = NAN if input_ps is None else to_s(input_ps - timeline.arrival_ps)
    return RequestMetrics(
        ttft_s=ttft,
        smooth_start_s=to_s(smooth_ps),
        e2e_s=e2e,
        tpot_s=(e2e - ttft) / (count - 1) if count > 1 else NAN,
        stall_s=to_s(smooth_ps - answer_ps[0]) if count else NAN,
        longest_gap_s=to_s(int(np.diff(answer_ps).max())) if count > 1 else NAN,
        queued_s=to_s(sum(span.started_ps - span.submitted_ps for span in timeline.spans)),
        busy_s=to_s(sum(span.busy_ps for span in timeline.spans)),
        answer_tokens=count,
        prefilled_tokens=sum(span.prefilled_tokens for span in timeline.spans),
        cached_tokens=sum(span.cached_tokens for span in timeline.spans),
        first_output_s=ttft if thought_ps is None else to_s(thought_ps - timeline.arrival_ps),
        thinking_tokens=sum(span.thinking_tokens for span in timeline.spans),
        input_s=input_s,
        start_after_input_s=to_s(smooth_ps) - input_s,
        last_after_input_s=e2e - input_s,
        **_of_revisions(timeline),
        **_of_votes(list(timeline.votes.values())),
        tokens_per_pass=_per_pass(timeline.spans),
    )


def _of_revisions(timeline: Timeline) -> dict[str, float]:
    checked = sum(span.checked_tokens for span in timeline.spans)
    kept = sum(span.kept_tokens for span in timeline.spans)
    may_fall = checked or timeline.input_ps is not None
    return {
        "retracted_tokens": timeline.retracted_tokens if may_fall else NAN,
        "kept": kept / checked if checked else NAN,
    }


def _per_pass(spans: Sequence[Span]) -> float:
    passes = sum(span.passes for span in spans)
    # Servers may tell how many were right and not in how many passes.
    guessed = sum(span.guessed_tokens for span in spans if span.passes)
    return 1 + guessed / passes if passes else NAN


def _of_votes(votes: Sequence[Outcome]) -> dict[str, float]:
    known = [vote.is_right for vote in votes if vote.is_right is not None]
    return {
        "vote_right": sum(known) / len(known) if known else NAN,
        "samples": float(sum(vote.asked for vote in votes)) if votes else NAN,
    }


def reader_ps(reading_rate: float) -> int:
    """Picoseconds in which somebody who reads ``reading_rate`` tokens/s takes one."""
    return round(PS_PER_S / reading_rate)


def smooth_start(times: ArrayLike, per_token: float) -> float:
    """``max_k(times[k] − k·per_token)`` in the unit of both; NaN of no tokens.

    Exact where both are integers. ``simulator.compiled.results`` and
    ``simulator.analytic.closed_form`` have forms of their own for speed, which tests hold equal to
    this one.
    """
    arrivals = np.asarray(times)
    if not len(arrivals):
        return NAN
    found = (arrivals - np.arange(len(arrivals)) * per_token).max()
    return found.item()  # type: ignore[no-any-return]


def summarize(values: Sequence[float] | Floats, seed: int = 0) -> Summary:
    """Mean with its interval, and percentiles; NaNs are left out."""
    data = np.asarray(values, dtype=np.float64)
    data = data[~np.isnan(data)]
    if not len(data):
        return UNDEFINED
    return _summary(data, _interval(data, np.ones(len(data)), seed))


def summarize_pooled(groups: Sequence[Floats], seed: int = 0) -> Summary:
    """The same of the values of all ``groups`` together.

    Values of one group (gaps of one request) are alike, so the interval is that of whole groups.
    """
    filled = [group for group in groups if len(group)]
    if not filled:
        return UNDEFINED
    sums = np.array([group.sum() for group in filled])
    counts = np.array([float(len(group)) for group in filled])
    return _summary(np.concatenate(filled), _interval(sums, counts, seed))


def _interval(sums: Floats, counts: Floats, seed: int) -> tuple[float, float]:
    """90 % interval of Σ sums / Σ counts: a bootstrap, or the normal one if there are many.

    A single request has none.
    """
    size = len(sums)
    if size == 1:
        return NAN, NAN
    if size <= FEW:
        drawn = np.random.default_rng(seed).integers(0, size, (RESAMPLES, size))
        means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        low, high = np.percentile(means, [5, 95])
        return float(low), float(high)
    mean = sums.sum() / counts.sum()
    error = np.std(sums - mean * counts) * np.sqrt(size) / counts.sum()
    return float(mean - Z90 * error), float(mean + Z90 * error)


def _summary(data: Floats, interval: tuple[float, float]) -> Summary:
    p50, p90, p99 = (float(percentile) for percentile in np.percentile(data, [50, 90, 99]))
    return Summary(float(data.mean()), *interval, p50, p90, p99)
