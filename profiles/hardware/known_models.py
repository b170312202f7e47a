"""Shapes of models by name, or from a transformers config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from profiles.hardware.model_shape import ModelShape, plain_shape
from profiles.hardware.weight_bits import WeightBits, weight_bits
from profiles.json_node import read_node
from staircase.errors import ProfileError
from staircase.files import named_path

# From the models' public config.json.
SHAPES = {
    "Llama-3.1-8B": plain_shape(4096, 32, 32, 8, 128, 14336, 128256),
    "Llama-3.1-70B": plain_shape(8192, 80, 64, 8, 128, 28672, 128256),
    "Llama-2-70B": plain_shape(8192, 80, 64, 8, 128, 28672, 32000),
    "Qwen3-0.6B": plain_shape(1024, 28, 16, 8, 128, 3072, 151936, is_tied=True, norms=4),
    "Qwen3-1.7B": plain_shape(2048, 28, 16, 8, 128, 6144, 151936, is_tied=True, norms=4),
    "Qwen3-8B": plain_shape(4096, 36, 32, 8, 128, 12288, 151936, norms=4),
    "Qwen3-32B": plain_shape(5120, 64, 64, 8, 128, 25600, 151936, norms=4),
    "Qwen3-30B-A3B": plain_shape(
        2048, 48, 32, 4, 128, 768, 151936, experts=128, experts_per_token=8, norms=4
    ),
    "BLOOM-176B": plain_shape(
        14336, 70, 112, 112, 128, 57344, 250880, is_tied=True, gate_matrices=2
    ),
}
# Where a config.json says in how many bits its weights are: the older name of two.
QUANTIZATION_KEYS = ("quantization_config", "compression_config")


def known_shape(name: str) -> ModelShape | None:
    """Of a known model, also by its id on the Hugging Face hub, or of one tuned from it."""
    last = name.rpartition("/")[2].removeprefix("Meta-")
    return SHAPES.get(re.sub(r"-(Instruct|Thinking|Base)(-\d+)?$", "", last))


def model_shape(model: str, folder: Path = Path()) -> ModelShape:
    """The shape of a known model, or of a config.json (or a folder with one) under ``folder``.

    Raises:
        ProfileError: neither; or a file is wrong, or of a kind that is not modelled.
    """
    path, shape = named_path(model, folder), known_shape(model)
    if shape is not None and not path.exists():
        return shape
    if path.suffix != ".json" and not path.is_dir():
        known = ", ".join(SHAPES)
        raise ProfileError(f"model {model!r} is neither a config.json nor one of {known}")
    return read_shape(path / "config.json" if path.is_dir() else path)


def read_shape(path: Path) -> ModelShape:
    """The shape in a config.json, with the hf_quant_config.json beside it; as ``model_shape``."""
    beside = path.parent / "hf_quant_config.json"
    return _read_shape(path, _changed(path), beside if beside.exists() else None, _changed(beside))


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@cache
def _read_shape(path: Path, changed: int, beside: Path | None, also_changed: int) -> ModelShape:
    """Once for each state of the files: transformers takes seconds to build a model."""
    content = _object(path, "a model's config.json")
    bits = _bits(path, content)
    if bits is None and beside is not None:
        node = read_node(beside, "the hf_quant_config.json of ModelOpt")["quantization"]
        bits = weight_bits(str(beside), node.key, node.value, usual_method="modelopt")
    # It imports torch, which takes longer than most simulations.
    from profiles.hardware.counted_shape import counted_shape

    return counted_shape(str(path), content, bits or WeightBits())


def _bits(path: Path, content: Mapping[str, Any]) -> WeightBits | None:
    for part in (content, content.get("text_config")):
        for key in QUANTIZATION_KEYS:
            if isinstance(part, Mapping) and part.get(key):
                return weight_bits(str(path), key, part[key])
    return None


def _object(path: Path, what: str) -> dict[str, Any]:
    node = read_node(path, what)
    if not isinstance(node.value, dict):
        raise ProfileError(f"{path}: must be an object, as in {what}")
    return node.value
