"""What enters as a term of an engine's cost, or as its measured profile."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.streams.batched import QWEN_7B
from benchmarks.streams.row import Forecast, Row, Said
from profiles.hardware.gpus import HARDWARE
from profiles.hardware.hosts import HOSTS
from profiles.hardware.known_models import SHAPES
from profiles.hardware.roofline import PrefillChunk, Roofline
from simulator.core.cost import cost_of_roofline, with_host
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.simulate import simulate
from staircase import RequestShape, Schedule, Workload, single
from staircase.metrics.request_metrics import measure
from staircase.prompt import query
from staircase.timeline import to_s

TENSOR_PARALLEL_TOKENS = (1024, 4096, 8192)


def all_reduce_share(tokens: int, share: float = 1.0) -> float:
    """Of a prompt's iteration, Llama-3-70B on 8 H100, if all-reduces take ``share`` as long."""
    roofline = Roofline(SHAPES["Llama-3.1-70B"], HARDWARE["H100-SXM"], 8)
    whole_s = roofline.iteration_s([PrefillChunk(tokens, 0)], 0, 0)
    reducing_s = 2 * roofline.shape.layers * roofline.all_reduce_s(tokens)
    return share * reducing_s / (whole_s - (1 - share) * reducing_s)


def token_weave() -> Iterator[Row]:
    """Its share is of NVLink with the switch's own reduction, the roofline's of a ring."""
    for tokens in TENSOR_PARALLEL_TOKENS:
        what = f"share of all-reduces, {tokens:,} tokens"
        yield Forecast("TokenWeave", what, 0.20, all_reduce_share(tokens))
    halved = [all_reduce_share(tokens, 0.5) for tokens in TENSOR_PARALLEL_TOKENS]
    found = f"half as long as a ring's: {min(halved):.0%} to {max(halved):.0%}"
    yield Said("TokenWeave", "20 % of an iteration", found)
    what = "gain if 20 % is hidden, up to"
    yield Forecast("TokenWeave", what, 1.28, 1 / (1 - 0.20), "x", "restated")


def served(concurrency: int) -> tuple[float, float]:
    """Tokens a second of one answer while it is written, and of all of them; 1,024 in, 128 out."""
    roofline = Roofline(SHAPES["Llama-3.1-8B"], HARDWARE["A100-40GB-SXM"])
    cost = with_host(cost_of_roofline(roofline, 2048, 256, 1.0), HOSTS["vLLM-0.19"], 1)
    setup = BatchingSetup(cost, Limits(blocks=roofline.kv_blocks(16), shares_headers=False))
    shape = RequestShape({query("z"): 1024}, {"z": 128}, "length")
    load = Workload([shape] * 20 * concurrency, concurrency)
    timelines = simulate(single("z", max_tokens=128), Schedule(), {"z": setup}, load)
    took_s = to_s(max(one.completed_ps for one in timelines))
    return 1 / measure(timelines[0]).tpot_s, len(timelines) * 128 / took_s


def vllm() -> Iterator[Row]:
    """Llama-3.1-8B on an A100 of 40 GB, vLLM 0.23 (johnmusgrave.com, a sweep of concurrency)."""
    alone, of_one = served(1)
    _, of_eight = served(8)
    yield Forecast("vLLM, measured", "tokens a second of one", 75, alone)
    yield Forecast("vLLM, measured", "8 at once over one", 6.6, of_eight / of_one, "x")


def streaming_vlm() -> Iterator[Row]:
    """Its cache grows by 746 tokens a second at two frames, up to 12,011 (a reproduction's log)."""
    roofline = Roofline(QWEN_7B, HARDWARE["H100-SXM"])
    frame, cached = 746 // 2, 12_011
    read_s = roofline.iteration_s([PrefillChunk(frame, cached)], 0, 0)
    text_s = roofline.iteration_s([], 1, cached)
    found = (
        f"{1 / (read_s + text_s):.0f} frames a second, a token each, by its language model alone"
    )
    yield Said("StreamingVLM", "8 frames a second, one H100", found, "holds")


def parscale() -> Iterator[Row]:
    """4.4B parameters in place of 1.6B in 16 bits, or eight streams."""
    grown_mb = (4.4e9 - 1.6e9) * 2 / 22 / 7 / 1e6
    found = f"a stream keeps {grown_mb:.0f} MB of keys and values"
    yield Said("ParScale", "memory grows 22x less", found)


SYSTEMS = (token_weave, vllm, streaming_vlm, parscale)
