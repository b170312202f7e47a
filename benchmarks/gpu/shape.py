"""Models of which only the shape counts, how long their texts are, and what memory allows them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch

from executor.inprocess.models import LoadedModel, load_model

COPIES = 10


@dataclass(frozen=True)
class ModelShape:
    """A Llama, and what is measured on it.

    Attributes:
        config: for its config.json.
        batches, contexts: of decoding; ``decoded_tokens`` are written in each.
        prompts: lengths of prompts, ``repeats`` of each.
        query_tokens, written_tokens: of the pipeline's query, and of each agent.
        staircases: in the words of ``staircase.schedule.parse_staircase``.
        compared_tokens: written twice, to see whether they are the same.
        profiled_tokens: the longest prompt of the latency profile.
    """

    config: Mapping[str, int]
    dtype: Literal["bfloat16", "float32"]
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    decoded_tokens: int
    prompts: tuple[int, ...]
    repeats: int
    query_tokens: int
    written_tokens: int
    staircases: tuple[str, ...]
    compared_tokens: int
    profiled_tokens: int


SHAPES = {
    "8b": ModelShape(
        config={
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 14336,
            "vocab_size": 128256,
            "max_position_embeddings": 8192,
        },
        dtype="bfloat16",
        batches=(1, 4, 8),
        contexts=(4096, 2048, 1024, 512, 128),
        decoded_tokens=64,
        prompts=(4096, 2048, 1024, 512, 256, 128),
        repeats=5,
        query_tokens=512,
        written_tokens=512,
        staircases=("constant:8,64,64", "constant:32,128,128", "constant:64,256,128"),
        compared_tokens=128,
        profiled_tokens=4096,
    ),
    "tiny": ModelShape(
        config={
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 128,
            "vocab_size": 512,
            "max_position_embeddings": 1024,
        },
        dtype="float32",
        batches=(1, 2),
        contexts=(64, 16),
        decoded_tokens=16,
        prompts=(64, 16),
        repeats=3,
        query_tokens=32,
        written_tokens=32,
        staircases=("constant:4,8,8", "constant:8,16,16"),
        compared_tokens=16,
        profiled_tokens=64,
    ),
}

# Bytes/s by a part of the GPU's name. Source: NVIDIA, "H200 Tensor Core GPU" datasheet, "GPU Memory
# Bandwidth 4.8TB/s" (https://www.nvidia.com/en-us/data-center/h200/).
DATASHEET_BYTES_PER_S = {"H200": 4.8e12}


def load_shape(shape: ModelShape, device: str) -> LoadedModel:
    """Random weights for a bare config.json."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **shape.config}
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return load_model(folder, device, shape.dtype, "dummy")


def weight_bytes(model: LoadedModel) -> int:
    """What a forward pass reads of the weights: of the table of embeddings only a few rows."""
    inputs, outputs = model.network.get_input_embeddings(), model.network.get_output_embeddings()
    every = sum(weight.nbytes for weight in model.network.parameters())
    return int(every if inputs.weight is outputs.weight else every - inputs.weight.nbytes)


def kv_bytes_per_token(model: LoadedModel) -> int:
    config = model.network.config
    numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return int(numbers * model.network.dtype.itemsize)


def flop_per_token(model: LoadedModel) -> int:
    """Of the layers' matrices; attention and the last token's logits come on top."""
    layers = model.network.get_decoder().layers
    return int(2 * sum(weight.numel() for weight in layers.parameters() if weight.ndim == 2))


def copy_bytes_per_s(device: torch.device) -> float:
    """Bytes read and written by the fastest of some copies within the device's memory."""
    size = 1 << (32 if device.type == "cuda" else 26)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / min(_copy_s(source, target) for _ in range(COPIES))


def _copy_s(source: torch.Tensor, target: torch.Tensor) -> float:
    synchronize(source.device)
    started = time.perf_counter()
    target.copy_(source)
    synchronize(source.device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
