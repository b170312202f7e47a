"""Systems whose one answer is written by several threads or paths at the same time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.streams.batched import decode_s
from benchmarks.streams.played import NO_LIMIT, played
from benchmarks.streams.row import Forecast, Row, Said
from profiles.hardware.gpus import HARDWARE, Hardware
from profiles.hardware.hosts import HOSTS
from profiles.hardware.known_models import SHAPES
from profiles.hardware.model_shape import plain_shape
from profiles.hardware.roofline import Roofline
from simulator.core.cost import linear_cost, with_host
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.simulate import simulate
from staircase import Agent, Pipeline, RequestShape, Schedule, Workload, single
from staircase.prompt import query
from staircase.timeline import to_s

# Tokens one after the other, tokens of the longest path, and the mean of the problems' quotients
# (README of facebookresearch/threadweaver).
THREAD_WEAVER = {
    "AIME24": (19400, 16900, 1.14),
    "AIME25": (24600, 24000, 1.03),
    "AMC23": (13800, 12000, 1.16),
    "MATH500": (7200, 6400, 1.23),
    "Minerva": (10600, 7300, 1.53),
    "Olympiad": (15200, 12800, 1.21),
}
WALL_S = (162.34, 142.21)
# APR (2504.15466, figures 6 and 7): tokens of a search in a row and of one with six threads, and of
# its longest path, at least and at most. Both take about 5 s, threads on devices of their own.
APR_TOKENS, APR_THREADS, APR_PATHS, APR_S = (2201, 10964), 6, (2048, 2500), 5.0
# Its appendix: 18 layers of 1,024 with 16 heads, 228M parameters beside the embeddings of Llama 2.
APR_MODEL = plain_shape(1024, 18, 16, 16, 64, 2752, 32000)
APR_DEVICE = Hardware("A6000", 154.8, 768, 48, 32, "NVIDIA RTX A6000 datasheet, PCIe 4.0 x16")


def fork_join(threads: int) -> Pipeline:
    """A head, threads that read it, and a tail that reads all; one engine."""
    names = tuple(f"thread {n}" for n in range(threads))
    return Pipeline(
        (
            Agent("head", "model", max_tokens=NO_LIMIT),
            *(Agent(name, "model", ("head",), max_tokens=NO_LIMIT) for name in names),
            Agent("tail", "model", ("head", *names), max_tokens=NO_LIMIT),
        ),
        "tail",
    )


def thread_tokens(in_a_row: int, path: int, threads: int) -> dict[str, int]:
    """Threads of equal length, so that all together write ``in_a_row`` tokens, and the longest
    path is ``path``."""
    each = round((in_a_row - path) / (threads - 1))
    head = (path - each) // 2
    written = {f"thread {n}": each for n in range(threads)}
    return {"head": head, **written, "tail": path - each - head}


def token_latency(in_a_row: int, path: int, threads: int = 2) -> float:
    """Of a token after the other over threads, at one rate."""
    itl_s = {"model": 0.01}
    whole = played(single("model"), Schedule(), {"model": in_a_row}, itl_s).e2e_s
    tokens = thread_tokens(in_a_row, path, threads)
    return whole / played(fork_join(threads), Schedule(), tokens, itl_s).e2e_s


def decoding(hardware: str) -> BatchingSetup:
    """Four devices with Qwen3-8B each, whose prompts cost nothing: they are in the prefix cache."""
    roofline = Roofline(SHAPES["Qwen3-8B"], HARDWARE[hardware])
    one_s, two_s, far_s = (
        roofline.iteration_s([], *batch) for batch in ((1, 0), (2, 0), (1, 8192))
    )
    cost = linear_cost(
        iteration_s=2 * one_s - two_s,
        token_s=0.0,
        sequence_s=two_s - one_s,
        context_s=(far_s - one_s) / 8192,
        max_tokens=1 << 17,
        max_sequences=256,
    )
    limits = Limits(1 << 17, blocks=roofline.kv_blocks(16))
    return BatchingSetup(with_host(cost, HOSTS["vLLM-0.19"], 1), limits, replicas=4)


def wall_s(pipeline: Pipeline, problems: list[dict[str, int]], hardware: str) -> float:
    """Seconds of ``problems``, tokens by agent, all at once."""
    asked = {query(agent.name): 128 for agent in pipeline}
    shapes = [RequestShape(asked, tokens, "length") for tokens in problems]
    load = Workload(shapes, len(shapes))
    timelines = simulate(pipeline, Schedule(), {"model": decoding(hardware)}, load)
    return to_s(max(one.completed_ps for one in timelines))


def factors(spread: float) -> list[float]:
    """Of 50 problems' lengths, lognormal with mean 1, in an order that is drawn."""
    drawn = np.exp(spread * norm.ppf((np.arange(50) + 0.5) / 50))
    shuffled = np.random.default_rng(0).permutation(drawn / drawn.mean())
    return [float(factor) for factor in shuffled]


def walls(hardware: str, threads: int, spread: float = 0.0) -> tuple[float, float]:
    """Of MATH500, in a row and in threads, if all problems gain alike."""
    in_a_row, path, _ = THREAD_WEAVER["MATH500"]
    lengths = [(round(in_a_row * by), round(path * by)) for by in factors(spread)]
    alone = [{"model": whole} for whole, _ in lengths]
    threaded = [thread_tokens(*both, threads) for both in lengths]
    return (
        wall_s(single("model", max_tokens=NO_LIMIT), alone, hardware),
        wall_s(fork_join(threads), threaded, hardware),
    )


def thread_weaver() -> Iterator[Row]:
    """The wall clock is forecast from the mean token latencies; the rows before it restate them."""
    for task, (in_a_row, path, published) in THREAD_WEAVER.items():
        found = token_latency(in_a_row, path)
        what = f"token latency, {task}"
        yield Forecast("ThreadWeaver", what, published, found, "x", "restated")
    for hardware, threads in (("H100-SXM", 2), ("H100-SXM", 4), ("A100-80GB-SXM", 2)):
        whole_s, threads_s = walls(hardware, threads)
        what = f"wall clock, 50 of MATH500, {threads} threads, 4 {hardware} (assumed)"
        gain = whole_s / threads_s
        yield Forecast("ThreadWeaver", what, WALL_S[0] / WALL_S[1], gain, "x")
    yield from _drawn_lengths()


def _drawn_lengths() -> Iterator[Row]:
    """The seconds in a row say how much the lengths differ, if devices are H100."""

    def beyond(spread: float) -> float:
        return walls("H100-SXM", 2, spread)[0] - WALL_S[0]

    spread = float(brentq(beyond, 0.1, 1.5, xtol=0.01))
    found = f"lengths differ by a lognormal's {spread:.2f}, on H100"
    yield Said("ThreadWeaver", f"wall clock in a row: {WALL_S[0]:.0f} s", found)
    threads_s = walls("H100-SXM", 2, spread)[1]
    what = "wall clock in threads, with that spread"
    yield Forecast("ThreadWeaver", what, WALL_S[1], threads_s, " s", "cross-checked")


def adaptive() -> Iterator[Row]:
    """The search in a row says what a token takes for those with threads; prompts cost nothing."""
    alone = APR_TOKENS[0]
    found = alone * decode_s(Roofline(APR_MODEL, APR_DEVICE), 1, alone)
    yield Forecast("APR", f"{alone:,} tokens in a row", APR_S, found, " s")
    itl_s = {"model": APR_S / alone}
    for path in APR_PATHS:
        tokens = thread_tokens(APR_TOKENS[1], path, APR_THREADS)
        found = played(fork_join(APR_THREADS), Schedule(), tokens, itl_s).e2e_s
        what = f"with threads, longest path of {path:,}"
        yield Forecast("APR", what, APR_S, found, " s", "cross-checked")


SYSTEMS = (thread_weaver, adaptive)
