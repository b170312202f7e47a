"""Systems whose one answer is written by several threads or paths at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.streams.played import NO_LIMIT, played
from benchmarks.streams.row import Forecast, Row, Said
from profiles.hardware.gpus import HARDWARE
from profiles.hardware.hosts import HOSTS
from profiles.hardware.known_models import SHAPES
from profiles.hardware.model_shape import ModelShape, plain_shape
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
# DeepSeek-R1-Distill-Qwen-1.5B and 7B, Qwen2.5-32B: their config.json.
QWEN_1_5B = plain_shape(1536, 28, 12, 2, 128, 8960, 151936)
QWEN_7B = plain_shape(3584, 28, 28, 4, 128, 18944, 152064)
QWEN_32B = plain_shape(5120, 64, 40, 8, 128, 27648, 152064)
# Compute and memory of an A800 are an A100's.
PATH_MODELS = {"1.5B": QWEN_1_5B, "7B": QWEN_7B}
PATHS_TOKENS = 16384


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


def decode_s(roofline: Roofline, sequences: int, tokens: int) -> float:
    """Of an iteration half-way through ``tokens`` each, with what vLLM's host takes."""
    step_s = roofline.iteration_s([], sequences, sequences * tokens // 2)
    return step_s + HOSTS["vLLM-0.19"].seconds(sequences)


def multiverse() -> Iterator[Row]:
    """Some steps are of two branches, the others of one."""
    roofline = Roofline(QWEN_32B, HARDWARE["H100-SXM"])
    one_s, two_s = (decode_s(roofline, count, 8192) for count in (1, 2))

    def gain(degree: float) -> float:
        return degree * one_s / ((2 - degree) * one_s + (degree - 1) * two_s)

    for degree in (1.15, 1.18):
        found = f"{gain(degree):.2f}x as many tokens a second on an H100"
        yield Said("Multiverse", f"degree of parallelism {degree}", found, "alone")
    found = f"at degree 2 it would be {gain(2.0):.2f}x: up to 2x needs three branches in places"
    yield Said("Multiverse", "up to 2x", found)


def path_cost(model: ModelShape, paths: int, tokens: int) -> float:
    """Of so many paths at once over one alone."""
    roofline = Roofline(model, HARDWARE["A100-80GB-SXM"])
    return decode_s(roofline, paths, tokens) / decode_s(roofline, 1, tokens)


def parathinker() -> Iterator[Row]:
    for name, model in PATH_MODELS.items():
        found = f"{path_cost(model, 16, PATHS_TOKENS):.2f}x at {PATHS_TOKENS:,} tokens a path"
        yield Said("ParaThinker", f"{name}, 16 paths: under 2x", found, "holds")

        def beyond(tokens: float, model: ModelShape = model) -> float:
            return path_cost(model, 8, int(tokens)) - 1.071

        tokens = float(brentq(beyond, 64, PATHS_TOKENS, xtol=64))
        at_most = path_cost(model, 8, PATHS_TOKENS) - 1
        found = f"{tokens:,.0f} tokens a path; {at_most:+.0%} at {PATHS_TOKENS:,}"
        yield Said("ParaThinker", f"{name}, 8 paths: +7.1 %", found)


def hogwild() -> Iterator[Row]:
    """QwQ-32B in 4 bits; the workers are rows of one step."""
    bits = 4 + 16 / 128
    model = replace(QWEN_32B, dense=replace(QWEN_32B.dense, bits=bits))
    roofline = Roofline(model, HARDWARE["L40S"])
    for workers in (2, 4):
        gain = workers * decode_s(roofline, 1, 8192) / decode_s(roofline, workers, 8192)
        found = f"{gain:.2f}x as many tokens a second, 4 bits on an L40S"
        yield Said("Hogwild!", f"{workers} workers, one engine", found, "alone")


SYSTEMS = (thread_weaver, multiverse, parathinker, hogwild)
