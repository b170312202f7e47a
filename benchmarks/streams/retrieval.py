"""Stream2LLM (2604.16395): pages of a crawl are read while others are still fetched.

Its repository says how long prompts are, how they arrive, on what, and the times to the first token
after the last page (tables/ and experiments/ of rajveerb/stream2llm, crawler).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.streams.played import input_and_reader
from benchmarks.streams.row import Forecast, Row, Said
from profiles.hardware.gpus import HARDWARE
from profiles.hardware.hosts import HOSTS
from profiles.hardware.known_models import SHAPES
from profiles.hardware.roofline import Roofline
from simulator.core.cost import cost_of_roofline, with_host
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.simulate import simulate
from simulator.run import run_workload
from staircase import RequestShape, Schedule, Workload, constant, single
from staircase.metrics.request_metrics import Floats
from staircase.prompt import query
from staircase.timeline import Timeline, to_ps, to_s

P50_TOKENS, P95_TOKENS, MEAN_TOKENS = 5749, 28372, 8889
MEAN_PAGES, MEAN_CRAWL_S = 7.86, 9.219
REQUESTS = 4309
SEEDS = (1, 2, 3)
BATCHED_TOKENS = 2048


@dataclass(frozen=True)
class Load:
    """Requests a second on two devices, and seconds to the first token of the unchanged engine.

    Attributes:
        whole_s: median and 95 % without streaming.
        streamed_s: median with it.
    """

    hardware: str
    rate_per_s: float
    whole_s: tuple[float, float]
    streamed_s: float


LOADS = (
    Load("H200", 0.5, (0.1164, 0.8366), 0.0298),
    Load("H200", 1, (0.1313, 1.0415), 0.0298),
    Load("H200", 2, (0.1815, 1.5646), 0.0374),
    Load("H200", 4, (0.7521, 4.3418), 0.0722),
    Load("H100-SXM", 0.5, (0.1200, 0.8820), 0.0279),
    Load("H100-SXM", 1, (0.1403, 1.0794), 0.0308),
    Load("H100-SXM", 2, (0.1979, 1.6922), 0.0401),
    Load("H100-SXM", 4, (0.9564, 4.9226), 0.0800),
)
# Its headline: the median without streaming over that of its scheduler, 4 requests a second, H200.
HEADLINE = 11.02


def spread() -> float:
    """Of the logarithm of the prompts' lengths, from their median and 95 %."""
    return float(np.log(P95_TOKENS / P50_TOKENS) / norm.ppf(0.95))


def quantiles(count: int, most: float) -> Floats:
    """Of a lognormal that is cut off at ``most``, evenly spaced."""
    drawn = P50_TOKENS * np.exp(spread() * norm.ppf((np.arange(count) + 0.5) / count))
    cut: Floats = np.minimum(drawn, most)
    return cut


@cache
def longest() -> float:
    """Where the lengths are cut off so that their mean is the published one."""
    return float(brentq(lambda most: quantiles(REQUESTS, most).mean() - MEAN_TOKENS, 2e4, 4e5))


def workload(rate_per_s: float, count: int, seed: int, shapes: Iterator[RequestShape]) -> Workload:
    gaps = np.random.default_rng(seed).exponential(1 / rate_per_s, count)
    return Workload(list(shapes), arrivals_ps=[to_ps(at) for at in np.cumsum(gaps)])


def lengths(count: int, seed: int) -> list[int]:
    """In an order that is drawn."""
    drawn = np.random.default_rng(seed).permutation(quantiles(count, longest()).round())
    return [int(tokens) for tokens in drawn]


def roofline(hardware: str) -> Roofline:
    return Roofline(SHAPES["Llama-3.1-8B"], HARDWARE[hardware], 2)


def engine(hardware: str, factor: float, *, prefix_caching: bool) -> BatchingSetup:
    """Llama-3.1-8B on two devices, iterations ``factor`` times as long as the roofline says."""
    cost = cost_of_roofline(roofline(hardware), BATCHED_TOKENS, 256, factor)
    blocks = roofline(hardware).kv_blocks(16)
    limits = Limits(BATCHED_TOKENS, blocks=blocks, prefix_caching=prefix_caching)
    return BatchingSetup(with_host(cost, HOSTS["vLLM-0.19"], 1), limits)


@cache
def whole(
    hardware: str, rate_per_s: float, factor: float, seeds: tuple[int, ...] = SEEDS
) -> tuple[float, float]:
    """Median and 95 % of the seconds to the first token, with whole prompts; mean of the seeds."""
    found = []
    for seed in seeds:
        drawn = lengths(REQUESTS, seed)
        shapes = (RequestShape({query("z"): tokens}, {"z": 1}, "length") for tokens in drawn)
        load = workload(rate_per_s, REQUESTS, seed, shapes)
        engines = {"z": engine(hardware, factor, prefix_caching=False)}
        run = run_workload(single("z", max_tokens=1), Schedule(), engines, load)
        found.append(np.percentile(run.measured.columns["ttft_s"], [50, 95]))
    median, late = np.mean(found, axis=0)
    return float(median), float(late)


@cache
def streamed(hardware: str, rate_per_s: float, factor: float, requests: int = REQUESTS) -> float:
    """Median of the seconds from the last page to the first token after it; pages of mean size.

    A step must write something: one token, which costs no iteration of its own.
    """
    page = round(MEAN_TOKENS / MEAN_PAGES)
    pipeline = input_and_reader(MEAN_TOKENS / MEAN_CRAWL_S, page)
    schedule = Schedule({"z": constant(page, page, 1)}, "interleave")
    shapes = (
        RequestShape({query("z"): 60}, {"seen": tokens, "z": -(-tokens // page) + 1}, "length")
        for tokens in lengths(requests, SEEDS[0])
    )
    load = workload(rate_per_s, requests, SEEDS[0], shapes)
    engines = {"z": engine(hardware, factor, prefix_caching=True)}
    played = simulate(pipeline, schedule, engines, load)
    return float(np.median([after_last_page_s(timeline) for timeline in played]))


def after_last_page_s(timeline: Timeline) -> float:
    """Where the last page came just with its step, that step's first token counts."""
    assert timeline.input_ps is not None
    last = [span for span in timeline.spans if span.agent == "z"][-1]
    assert last.first_token_ps is not None
    return to_s(max(0, last.first_token_ps - timeline.input_ps))


@cache
def fitted(seeds: tuple[int, ...] = SEEDS) -> float:
    """The factor at which the first load has its published median."""
    first = LOADS[0]

    def beyond(factor: float) -> float:
        return whole(first.hardware, first.rate_per_s, factor, seeds)[0] - first.whole_s[0]

    return float(brentq(beyond, 1.0, 1.6, xtol=0.01))


def stream2llm() -> Iterator[Row]:
    first, factor = LOADS[0], fitted()
    name = "Stream2LLM"
    alone = whole(first.hardware, first.rate_per_s, 1.0)[0]
    yield Forecast(name, "whole, H200, 0.5/s, median, roofline", first.whole_s[0], alone, " s")
    yield Said(name, "the same", f"iterations take {factor:.2f} times what the roofline says")
    for load in LOADS:
        of = f"whole, {load.hardware}, {load.rate_per_s:g}/s"
        forecast = whole(load.hardware, load.rate_per_s, factor)
        for what, published, found in zip(("median", "95 %"), load.whole_s, forecast, strict=True):
            if (load, what) != (first, "median"):
                yield Forecast(name, f"{of}, {what}", published, found, " s", "cross-checked")
    yield from _streamed(factor)


def _streamed(factor: float) -> Iterator[Row]:
    for load in (LOADS[0], LOADS[3]):
        found = streamed(load.hardware, load.rate_per_s, factor)
        what = f"streamed, {load.hardware}, {load.rate_per_s:g}/s, median"
        yield Forecast("Stream2LLM", what, load.streamed_s, found, " s", "cross-checked")
    busy = LOADS[3]
    median, _ = whole(busy.hardware, busy.rate_per_s, factor)
    ratio = median / streamed(busy.hardware, busy.rate_per_s, factor)
    what = "headline, H200, 4/s, medians"
    yield Forecast("Stream2LLM", what, HEADLINE, ratio, "x", "cross-checked")


SYSTEMS = (stream2llm,)
