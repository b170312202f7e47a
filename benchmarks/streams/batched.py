"""Systems whose paths, branches or workers are rows of one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scipy.optimize import brentq

from benchmarks.streams.row import Forecast, Row, Said
from profiles.hardware.gpus import HARDWARE
from profiles.hardware.hosts import HOSTS
from profiles.hardware.model_shape import ModelShape, plain_shape
from profiles.hardware.roofline import Roofline
from simulator.core.cost import cost_of_roofline, with_host
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.simulate import simulate
from staircase import Agent, Pipeline, RequestShape, Schedule, Workload, constant
from staircase.prompt import query
from staircase.timeline import to_s

# DeepSeek-R1-Distill-Qwen-1.5B and 7B, Qwen2.5-32B: their config.json.
QWEN_1_5B = plain_shape(1536, 28, 12, 2, 128, 8960, 151936)
QWEN_7B = plain_shape(3584, 28, 28, 4, 128, 18944, 152064)
QWEN_32B = plain_shape(5120, 64, 40, 8, 128, 27648, 152064)
# Compute and memory of an A800 are an A100's.
PATH_MODELS = {"1.5B": QWEN_1_5B, "7B": QWEN_7B}
PATHS_TOKENS = 16384
# Multiverse (2506.09991), figure 8a: a token takes so many milliseconds over the degree of
# parallelism, and so many more, as the authors fit it to runs of so many tokens.
MULTIVERSE_MS = {8192: (15.43, 0.60), 16384: (15.43, 1.06), 32768: (15.38, 2.14)}
# Hogwild! (2504.06261), table 1, QwQ-32B-AWQ on an L40S: tokens a second of one, two and four
# workers, by the tokens that they see.
HOGWILD = {1024: (20.1, 36.3, 68.9), 8192: (19.3, 36.1, 66.3), 16384: (18.3, 34.3, 60.3)}
LOOKS = 64


def decode_s(roofline: Roofline, sequences: int, tokens: int) -> float:
    """Of an iteration half-way through ``tokens`` each, with what vLLM's host takes."""
    step_s = roofline.iteration_s([], sequences, sequences * tokens // 2)
    return step_s + HOSTS["vLLM-0.19"].seconds(sequences)


def gain(hardware: str, degree: float, tokens: int) -> float:
    """Tokens a second of Qwen2.5-32B in steps of which ``degree - 1`` have two branches, over one
    branch."""
    roofline = Roofline(QWEN_32B, HARDWARE[hardware])
    one_s, two_s = (decode_s(roofline, count, tokens) for count in (1, 2))
    return degree * one_s / ((2 - degree) * one_s + (degree - 1) * two_s)


def multiverse() -> Iterator[Row]:
    """The gain depends little on the device, which is not said."""
    for tokens, (shared, fixed) in MULTIVERSE_MS.items():
        published = (shared + fixed) / (shared / 2 + fixed)
        what = f"two branches all the time, {tokens:,} tokens, H200 (assumed)"
        yield Forecast("Multiverse", what, published, gain("H200", 2.0, tokens), "x")
    for hardware in ("H100-SXM", "B200"):
        what = f"on average, at its degree of 1.18, {hardware} (assumed)"
        yield Forecast("Multiverse", what, 1.185, gain(hardware, 1.18, 8192), "x")
    alone_ms = (
        f"{decode_s(Roofline(QWEN_32B, HARDWARE[name]), 1, 8192) * 1000:.1f} on {name}"
        for name in ("H200", "B200")
    )
    yield Said("Multiverse", "16.0 ms a token, one branch", ", ".join(alone_ms))


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


def quantized() -> Roofline:
    """QwQ-32B in 4 bits on an L40S."""
    dense = replace(QWEN_32B.dense, bits=4 + 16 / 128)
    return Roofline(replace(QWEN_32B, dense=dense), HARDWARE["L40S"])


def rate(workers: int, seen: int) -> float:
    """Tokens a second of workers that all look at ``seen`` tokens, as rows of a step."""
    step_s = quantized().iteration_s([], workers, workers * seen)
    return workers / (step_s + HOSTS["vLLM-0.19"].seconds(workers))


def peers(workers: int) -> Pipeline:
    """Workers who read each other, and who waits for them all."""
    names = tuple(f"worker {n}" for n in range(workers))
    looking = (
        Agent(name, "model", others, max_tokens=LOOKS, peers=others)
        for name in names
        for others in [tuple(other for other in names if other != name)]
    )
    return Pipeline((*looking, Agent("end", "model", names, max_tokens=1)), "end")


def rate_of_peers(workers: int, seen: int) -> float:
    """The same, played: each looks at the others after every token."""
    pipeline = peers(workers)
    looking = [agent.name for agent in pipeline if agent.peers]
    cost = with_host(cost_of_roofline(quantized(), 1 << 15, workers, 1.0), HOSTS["vLLM-0.19"], 1)
    # One cache serves all workers there, so there is room for it.
    setup = BatchingSetup(cost, Limits(1 << 15, workers, blocks=1 << 13))
    asked = dict.fromkeys((query(name) for name in looking), seen) | {query("end"): 1}
    shape = RequestShape(asked, dict.fromkeys(looking, LOOKS) | {"end": 1}, "length")
    steps = dict.fromkeys(looking, constant(1, 1, 1))
    schedule, load = Schedule(steps, "interleave"), Workload([shape])
    timeline = simulate(pipeline, schedule, {"model": setup}, load)[0]
    ended = [span.ended_ps for span in timeline.spans if span.agent == looking[0]]
    # By then all have begun.
    half = LOOKS // 2
    return workers * half / to_s(ended[LOOKS - 1] - ended[half - 1])


def hogwild() -> Iterator[Row]:
    """Its kernel reads the keys of all workers once, a roofline's decoding rows read them one by
    one, and rows that look as prompts do hardly pay for it."""
    for seen, (alone, *together) in HOGWILD.items():
        for workers, published in zip((2, 4), together, strict=True):
            one = rate(1, seen)
            for name, found in (("rows of a step", rate), ("peers", rate_of_peers)):
                what = f"{workers} workers as {name}, {seen:,} tokens"
                yield Forecast("Hogwild!", what, published / alone, found(workers, seen) / one, "x")
    what = "one worker, 8,192 tokens"
    yield Forecast("Hogwild!", what, HOGWILD[8192][0], rate(1, 8192), " tokens a second")


SYSTEMS = (multiverse, parathinker, hogwild)
