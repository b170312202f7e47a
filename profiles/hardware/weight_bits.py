"""In how many bits a model's weights are, from the quantization part of its config.json.

Scales and zero points count by the weights that share them: a scale of 16 bits for 128 weights of 4
bits makes 4.125. Products are still counted at the device's peak for 16 bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from profiles.hardware.model_shape import BITS
from profiles.json_node import shown
from staircase.errors import ProfileError

# ModelOpt's algorithms: bits, and how many weights share how many bits of scale.
MODELOPT = {
    "FP8": 8.0,
    "FP8_PER_CHANNEL_PER_TOKEN": 8.0,
    "FP8_PB_WO": 8.0,
    "INT8_SQ": 8.0,
    "NVFP4": 4 + 8 / 16,
    "W4A16_AWQ": 4 + 16 / 128,
    "W4A8_AWQ": 4 + 16 / 128,
}
WIDTHS = (2, 3, 4, 5, 6, 8, 16)


@dataclass(frozen=True)
class WeightBits:
    """Bits of the matrices in layers.

    Attributes:
        whole: names or patterns of modules that stay in 16 bits.
        of_experts_only: all others stay, too.
        of_head: the head is quantized as well.
        kv: bits of a number in the KV cache.
    """

    bits: float = BITS
    whole: tuple[str, ...] = ()
    of_experts_only: bool = False
    of_head: bool = False
    kv: int = BITS

    def of(self, module: str, *, is_expert: bool) -> float:
        """Bits of the weights of a module by its dotted name."""
        if self.of_experts_only and not is_expert:
            return BITS
        return BITS if any(_names(pattern, module) for pattern in self.whole) else self.bits


def _names(pattern: str, module: str) -> bool:
    """``re:`` begins a regular expression; a name means the module and all in it."""
    if pattern.startswith("re:"):
        return re.match(pattern[3:], module) is not None
    if "*" in pattern:
        return fnmatchcase(module, pattern) or fnmatchcase(module, f"*.{pattern}")
    return f".{pattern}." in f".{module}."


@dataclass(frozen=True)
class _Part:
    """The object under ``key`` in the file ``place``."""

    place: str
    key: str
    content: Mapping[str, Any]

    def part(self, key: str, value: object) -> _Part:
        if not isinstance(value, Mapping):
            raise self.error(key, f"must be an object, not {shown(value)}")
        return _Part(self.place, f"{self.key}.{key}", value)

    def width(self, *keys: str) -> int:
        """Whole bits, under the first of ``keys`` that is there."""
        key = next((name for name in keys if name in self.content), keys[0])
        value = self.content.get(key)
        if type(value) is not int or value not in WIDTHS:
            said = "is missing" if value is None else f"is {shown(value)}"
            raise self.error(key, f"{said}, must be one of {', '.join(map(str, WIDTHS))}")
        return value

    def shared(self, bits: float, *keys: str) -> float:
        """Share of one weight in ``bits`` that a group has in common; -1 and null: none."""
        key = next((name for name in keys if name in self.content), keys[0])
        value = self.content.get(key)
        if value in (None, -1):
            return 0.0
        if type(value) is not int or value < 1:
            raise self.error(key, f"is {shown(value)}, must be a whole number from 1, or -1")
        return bits / value

    def names(self, *keys: str) -> tuple[str, ...]:
        found: list[str] = []
        for key in keys:
            names = self.content.get(key) or []
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise self.error(key, "must be a list of modules' names")
            found += names
        for name in found:
            self._check_pattern(name)
        return tuple(found)

    def _check_pattern(self, name: str) -> None:
        try:
            re.compile(name.removeprefix("re:") if name.startswith("re:") else "")
        except (re.error, OverflowError, RecursionError) as error:
            raise ProfileError(
                f"{self.place}: {self.key}: {shown(name)} is no regular expression ({error})"
            ) from None

    def error(self, key: str, said: str) -> ProfileError:
        return ProfileError(f"{self.place}: {self.key}.{key}: {said}")


def weight_bits(
    place: str, key: str, content: object, *, usual_method: str | None = None
) -> WeightBits:
    """What the object ``content``, found under ``key`` in the file ``place``, says.

    Args:
        usual_method: the method, unless the file names one.

    Raises:
        ProfileError: it is of a method that is not modelled, or a number is wrong; names the key.
    """
    if not isinstance(content, Mapping):
        raise ProfileError(f"{place}: {key}: must be an object, not {shown(content)}")
    part = _Part(place, key, content)
    method = content.get("quant_method", usual_method)
    if method is None and "config_groups" in content:
        method = "compressed-tensors"
    if not isinstance(method, str) or method not in METHODS:
        said = "is missing" if method is None else f"{shown(method)} is not modelled"
        raise part.error("quant_method", f"{said}; known: {', '.join(METHODS)}")
    return METHODS[method](part)


def _fp8(part: _Part) -> WeightBits:
    return WeightBits(8.0, part.names("modules_to_not_convert", "ignored_layers"))


def _gptq(part: _Part) -> WeightBits:
    width = part.width("bits")
    bits = width + part.shared(16 + width, "group_size")
    return WeightBits(bits, of_head=part.content.get("lm_head") is True)


def _awq(part: _Part) -> WeightBits:
    width = part.width("bits", "w_bit")
    bits = width + part.shared(16 + width, "group_size", "q_group_size")
    return WeightBits(bits, part.names("modules_to_not_convert"))


def _bitsandbytes(part: _Part) -> WeightBits:
    whole = part.names("llm_int8_skip_modules")
    if part.content.get("load_in_4bit"):
        # A scale for 64 weights in 32 bits, or in 8 with one of 32 for 256 scales.
        nested = part.content.get("bnb_4bit_use_double_quant")
        return WeightBits(4 + ((8 + 32 / 256) / 64 if nested else 32 / 64), whole)
    if part.content.get("load_in_8bit"):
        return WeightBits(8.0, whole)
    raise part.error("load_in_4bit", "neither it nor load_in_8bit is true")


def _compressed(part: _Part) -> WeightBits:
    sparsity = part.content.get("sparsity_config") or {}
    if part.part("sparsity_config", sparsity).content.get("format", "dense") != "dense":
        raise part.error("sparsity_config.format", "sparse weights are not modelled")
    groups = part.part("config_groups", part.content.get("config_groups"))
    bits = {_group_bits(groups.part(name, group)) for name, group in sorted(groups.content.items())}
    if len(bits) != 1:
        raise part.error("config_groups", "must be one group, or several of the same bits")
    cache = part.content.get("kv_cache_scheme")
    kv = part.part("kv_cache_scheme", cache).width("num_bits") if cache else BITS
    return WeightBits(bits.pop(), part.names("ignore"), kv=kv)


def _group_bits(group: _Part) -> float:
    weights = group.part("weights", group.content.get("weights"))
    width = weights.width("num_bits")
    is_narrow_float = width == 4 and weights.content.get("type") == "float"
    return width + weights.shared(8 if is_narrow_float else 16, "group_size")


def _modelopt(part: _Part) -> WeightBits:
    algorithm = part.content.get("quant_algo")
    if not isinstance(algorithm, str) or algorithm not in MODELOPT:
        known = ", ".join(MODELOPT)
        raise part.error("quant_algo", f"{shown(algorithm)} is not modelled; known: {known}")
    cache = part.content.get("kv_cache_quant_algo")
    if cache not in (None, "FP8"):
        raise part.error("kv_cache_quant_algo", f"{shown(cache)} is not modelled; known: FP8")
    whole = part.names("exclude_modules", "ignore")
    return WeightBits(MODELOPT[algorithm], whole, kv=8 if cache else BITS)


def _mxfp4(part: _Part) -> WeightBits:
    """Of experts, with a scale of 8 bits for 32 weights."""
    return WeightBits(4 + 8 / 32, part.names("modules_to_not_convert"), of_experts_only=True)


METHODS: Mapping[str, Callable[[_Part], WeightBits]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "gptq": _gptq,
    "awq": _awq,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
    "mxfp4": _mxfp4,
}
