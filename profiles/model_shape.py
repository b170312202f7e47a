"""A transformer's shape: how many weights it has, and what a token reads, keeps and computes.

Norms, biases and position tables are left out: together far below one percent. Weights and keys
and values have 16 bits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staircase.errors import ProfileError
from staircase.files import read_text

BYTES = 2
# Models with two matrices in a feed-forward block, not three, and four times as wide as the model.
UNGATED = ("bloom", "gpt2")
TIED = (*UNGATED, "gemma", "gemma2", "gemma3_text")
# What changes the counts in ways that are not modelled here.
UNKNOWN_SHAPES = {
    "kv_lora_rank": "multi-head latent attention",
    "quantization_config": "quantized weights",
    "n_shared_experts": "shared experts",
    "shared_expert_intermediate_size": "shared experts",
}


@dataclass(frozen=True)
class ModelShape:
    """A decoder: attention with grouped heads, then a feed-forward block or experts.

    Attributes:
        intermediate: width of the feed-forward block, or of one expert.
        experts, experts_per_token: 1 of 1 in a dense model.
        gate_matrices: 3 in a feed-forward block with a gate, else 2.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    is_tied: bool = False
    experts: int = 1
    experts_per_token: int = 1
    gate_matrices: int = 3

    @property
    def attention_parameters(self) -> int:
        """Of all layers: queries and output have all heads, keys and values theirs."""
        columns = 2 * self.heads + 2 * self.kv_heads
        return self.layers * self.hidden * columns * self.head_dim

    @property
    def expert_parameters(self) -> int:
        """One expert of each layer."""
        return self.layers * self.gate_matrices * self.hidden * self.intermediate

    @property
    def router_parameters(self) -> int:
        return self.layers * self.hidden * self.experts if self.experts > 1 else 0

    @property
    def head_parameters(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        embedding = 0 if self.is_tied else self.head_parameters
        experts = self.experts * self.expert_parameters
        shared = self.attention_parameters + self.router_parameters
        return shared + experts + self.head_parameters + embedding

    @property
    def active_parameters(self) -> int:
        """Those that a token passes through, embeddings among them."""
        return self.parameters - (self.experts - self.experts_per_token) * self.expert_parameters

    @property
    def weight_bytes(self) -> int:
        return BYTES * self.parameters

    @property
    def kv_bytes_per_token(self) -> int:
        return BYTES * 2 * self.layers * self.kv_heads * self.head_dim

    @property
    def layer_flops_per_token(self) -> int:
        """Of all layers' matrices, two for each weight; without attention and the head."""
        experts = self.experts_per_token * self.expert_parameters
        return 2 * (self.attention_parameters + self.router_parameters + experts)

    @property
    def head_flops(self) -> int:
        """The next token's logits, once a sequence."""
        return 2 * self.head_parameters

    @property
    def attention_flops(self) -> int:
        """One token that attends to one: a product with the key and one with the value."""
        return 4 * self.layers * self.heads * self.head_dim

    def layer_bytes(self, tokens: int) -> float:
        """Weights of all layers that ``tokens`` read, each once.

        Each token takes k of E experts, evenly and independently, so E·(1 - (1 - k/E)^tokens)
        experts of a layer are read.
        """
        unread = (1 - self.experts_per_token / self.experts) ** tokens
        experts = self.experts * (1 - unread) * self.expert_parameters
        return BYTES * (self.attention_parameters + self.router_parameters + experts)


# From the models' public config.json.
SHAPES = {
    "Llama-3.1-8B": ModelShape(4096, 32, 32, 8, 128, 14336, 128256),
    "Llama-3.1-70B": ModelShape(8192, 80, 64, 8, 128, 28672, 128256),
    "Llama-2-70B": ModelShape(8192, 80, 64, 8, 128, 28672, 32000),
    "Qwen3-0.6B": ModelShape(1024, 28, 16, 8, 128, 3072, 151936, is_tied=True),
    "Qwen3-1.7B": ModelShape(2048, 28, 16, 8, 128, 6144, 151936, is_tied=True),
    "Qwen3-8B": ModelShape(4096, 36, 32, 8, 128, 12288, 151936),
    "Qwen3-32B": ModelShape(5120, 64, 64, 8, 128, 25600, 151936),
    "BLOOM-176B": ModelShape(
        14336, 70, 112, 112, 128, 57344, 250880, is_tied=True, gate_matrices=2
    ),
}


def model_shape(model: str, folder: Path = Path()) -> ModelShape:
    """The shape of a known model, or of a config.json (or a folder with one) under ``folder``.

    Raises:
        ProfileError: neither; or the file lacks a key or is of a kind that is not modelled.
    """
    if model in SHAPES:
        return SHAPES[model]
    path = folder / model
    if path.suffix != ".json" and not path.is_dir():
        known = ", ".join(SHAPES)
        raise ProfileError(f"model {model!r} is neither a config.json nor one of {known}")
    return read_shape(path / "config.json" if path.is_dir() else path)


def read_shape(path: Path) -> ModelShape:
    """The shape in a transformers config.json; raises as ``model_shape``."""
    text = read_text(path, ProfileError, "a model's config.json")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ProfileError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, Mapping):
        raise ProfileError(f"{path}: must be an object, as in a model's config.json")
    for key, what in UNKNOWN_SHAPES.items():
        if config.get(key):
            raise ProfileError(f"{path}: {key}: {what}: not modelled")
    return _Config(path, config).shape()


@dataclass(frozen=True)
class _Config:
    path: Path
    content: Mapping[str, Any]

    def shape(self) -> ModelShape:
        hidden = self._count("hidden_size", "n_embd", "n_embed")
        heads = self._count("num_attention_heads", "n_head")
        kind = self.content.get("model_type")
        experts = self._count("num_experts", "num_local_experts", default=1)
        return ModelShape(
            hidden,
            self._count("num_hidden_layers", "n_layer"),
            heads,
            self._count("num_key_value_heads", default=heads),
            self._count("head_dim", default=hidden // heads),
            self._width(hidden, experts),
            self._count("vocab_size"),
            bool(self.content.get("tie_word_embeddings", kind in TIED)),
            experts,
            self._count("num_experts_per_tok", default=1) if experts > 1 else 1,
            2 if kind in UNGATED else 3,
        )

    def _width(self, hidden: int, experts: int) -> int:
        if experts > 1 and "moe_intermediate_size" in self.content:
            return self._count("moe_intermediate_size")
        is_ungated = self.content.get("model_type") in UNGATED
        return self._count(
            "intermediate_size", "n_inner", default=4 * hidden if is_ungated else None
        )

    def _count(self, *keys: str, default: int | None = None) -> int:
        """The first of ``keys`` that is there."""
        value = next((self.content[key] for key in keys if self.content.get(key)), default)
        if type(value) is not int or value < 1:
            what = "is missing" if value is None else f"must be a whole number, not {value!r}"
            raise ProfileError(f"{self.path}: {keys[0]} {what}")
        return value
