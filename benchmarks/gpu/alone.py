"""One engine: what a decoded token and a prompt cost, and whether graphs write the same."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import takewhile

import torch

from benchmarks.gpu.harness import Harness, Row
from benchmarks.gpu.shape import (
    DATASHEET_BYTES_PER_S,
    copy_bytes_per_s,
    flop_per_token,
    kv_bytes_per_token,
    weight_bytes,
)
from executor.inprocess.batching_engine import BatchingEngine
from executor.measure.call_recorder import serve

# Long enough for every shape to be captured and warm.
WARM_UP_TOKENS = 4
COMPARED_PROMPT_TOKENS = 128
VARIANTS = {"eager": False, "static": True}


# Parts: each gives rows, of which every one is kept as soon as it is there.


def machine(harness: Harness) -> Iterator[Row]:
    """The device, its memory's speed, and what the model's shape asks of it."""
    device = harness.model.device
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else platform.processor() or "CPU"
    copied = copy_bytes_per_s(device)
    datasheet = [rate for part, rate in DATASHEET_BYTES_PER_S.items() if part in name]
    yield {
        "device": name,
        "device_bytes": torch.cuda.get_device_properties(device).total_memory if on_gpu else None,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "transformers", "numpy")},
        "dtype": harness.shape.dtype,
        "copy_bytes_per_s": copied,
        # Where no datasheet is known, the copy is the bound.
        "bytes_per_s": datasheet[0] if datasheet else copied,
        "weight_bytes": weight_bytes(harness.model),
        "kv_bytes_per_token": kv_bytes_per_token(harness.model),
        "flop_per_token": flop_per_token(harness.model),
    }


def decode(harness: Harness) -> Iterator[Row]:
    """Seconds between tokens, by variant, batch and context, the longest context first."""
    for batch in harness.shape.batches:
        for variant, is_static in VARIANTS.items():
            with harness.engines(batch, is_static=is_static) as [engine]:
                for context in harness.shape.contexts:
                    yield {
                        "variant": variant,
                        "batch": batch,
                        "context_tokens": context,
                        "gaps_s": _gaps_s(harness, engine, batch, context),
                        "graphs": engine.graphs,
                    }


def _gaps_s(harness: Harness, engine: BatchingEngine, batch: int, context: int) -> list[float]:
    """The second run finds its prompts cached, so that all calls decode from its beginning."""
    prompts = [harness.prompt(context) for _ in range(batch)]
    serve(engine, prompts, WARM_UP_TOKENS)
    return serve(engine, prompts, harness.shape.decoded_tokens).joint_gaps_s()


def prefill(harness: Harness) -> Iterator[Row]:
    """Seconds from a prompt's beginning to its first token, by its length, in one pass."""
    longest = max(harness.shape.prompts)
    with harness.engines(1, max_num_batched_tokens=longest) as [engine]:
        for tokens in harness.shape.prompts:
            seconds = [
                _prefill_s(harness, engine, tokens) for _ in range(harness.shape.repeats + 1)
            ]
            # The first one warms up.
            yield {"prompt_tokens": tokens, "seconds": seconds[1:]}


def _prefill_s(harness: Harness, engine: BatchingEngine, tokens: int) -> float:
    recorder = serve(engine, [harness.prompt(tokens)], 1)
    return (recorder.times_ns[0][0] - recorder.reports[0].started_ns) / 1e9


def equality(harness: Harness) -> Iterator[Row]:
    """How far greedy texts agree: of graphs and eager decoding, and of eager in a batch and alone.

    The second says how much of the first is rounding: nothing but the batch differs there.
    """
    largest = max(batch for batch in harness.shape.batches if batch <= 4)
    prompts = [harness.prompt(COMPARED_PROMPT_TOKENS) for _ in range(largest)]
    alone = [_written(harness, [prompt], is_static=False)[0] for prompt in prompts]
    batched = _written(harness, prompts, is_static=False)
    yield _agreement("eager in a batch, eager alone", batched, alone)
    graphs = [_written(harness, [prompt], is_static=True)[0] for prompt in prompts]
    yield _agreement("static alone, eager alone", graphs, alone)
    graphs = _written(harness, prompts, is_static=True)
    yield _agreement("static in a batch, eager in a batch", graphs, batched)


def _written(harness: Harness, prompts: Sequence[list[int]], is_static: bool) -> list[list[int]]:
    with harness.engines(len(prompts), is_static=is_static) as [engine]:
        return serve(engine, prompts, harness.shape.compared_tokens).tokens


def _agreement(pair: str, some: Sequence[list[int]], others: Sequence[list[int]]) -> Row:
    pairs = [list(zip(a, b, strict=True)) for a, b in zip(some, others, strict=True)]
    return {
        "pair": pair,
        "calls": len(some),
        "tokens": sum(map(len, some)),
        "equal_tokens": sum(a == b for both in pairs for a, b in both),
        "equal_until": [len(list(takewhile(lambda ab: ab[0] == ab[1], both))) for both in pairs],
        "written": [list(some), list(others)],
    }
