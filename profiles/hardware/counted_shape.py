"""A model's shape as transformers itself builds it: on the meta device, which holds no numbers.

The network is built from the config and reads a few tokens. A weight counts where its module was
called; matrices that were not (towers for images, cross-attention, heads for more tokens) are only
held. What the cache holds after it says what a token leaves in each layer. Only models whose
reading can be followed so are accepted; nothing is guessed from names of keys.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from profiles.hardware.model_shape import NOTHING, Attention, ModelShape, Weights, grouped
from profiles.hardware.weight_bits import WeightBits
from profiles.json_node import shown
from staircase.errors import ProfileError

# As many as are read: few enough for every window, and no number that a weight's size is.
TOKENS = 8
MOST_LAYERS = 1000
# Layers of transformers' caches whose content is counted; others keep less than all, or an index.
CACHE_LAYERS = (
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "LinearAttentionLayer",
    "LinearAttentionAndFullAttentionLayer",
    "LinearAttentionAndSlidingWindowAttentionLayer",
)
# Says that a layer has no attention, but a feed-forward block alone.
NO_ATTENTION = "DummyLayer"
# Whose layers look like others.
UNKNOWN_KEYS = {
    "index_topk": "sparse attention",
    "index_topk_blocks": "sparse attention",
    "num_kv_shared_layers": "keys and values that layers share",
}
# Of other programs, or about how a model is run.
IGNORED = (
    "attn_implementation",
    "_attn_implementation",
    "auto_map",
    "compression_config",
    "quantization_config",
    "use_cache",
)


def counted_shape(place: str, content: Mapping[str, Any], bits: WeightBits) -> ModelShape:
    """The shape of the model with the config ``content``, which stands in the file ``place``.

    Raises:
        ProfileError: transformers has no such model, or it is not modelled here; names the key.
    """
    _check_layers(place, content)
    with _quiet():
        network = _network(place, content)
        reading = _read(place, network)
    return _Count(place, network, reading, bits).shape()


def _check_layers(place: str, content: Mapping[str, Any]) -> None:
    """So that no number makes building endless."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            _check_layers(place, value)
        if ("layer" in key or key == "depth") and isinstance(value, int) and value > MOST_LAYERS:
            raise ProfileError(f"{place}: {key} is {value}, must be at most {MOST_LAYERS}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers says of keys that it does not know, or of slow kernels."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def _network(place: str, content: Mapping[str, Any]) -> Any:
    kind = _kind(place, content)
    config = _config(place, kind, content)
    # The latter without the towers that engines hold, too.
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        factory: Any = AutoModelForImageTextToText
    elif type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        factory = AutoModelForCausalLM
    else:
        raise ProfileError(f"{place}: model_type {kind!r} writes no text; give one that does")
    try:
        with torch.device("meta"):
            return factory.from_config(config, dtype=torch.bfloat16).eval()
    except Exception as error:  # whatever its code does with numbers that do not fit
        raise _unmodelled(place, kind, "cannot be built", error) from None


def _kind(place: str, content: Mapping[str, Any]) -> str:
    """The type; of one that only its own code knows, that of the class which it names."""
    kind = content.get("model_type")
    if isinstance(kind, str) and kind in CONFIG_MAPPING:
        return kind
    classes = content.get("architectures")
    for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        if isinstance(classes, list) and name in classes:
            return str(getattr(transformers, name).config_class.model_type)
    said = "is missing" if kind is None else f"{shown(kind)} is none that transformers knows"
    raise ProfileError(f"{place}: model_type {said}")


def _config(place: str, kind: str, content: Mapping[str, Any]) -> Any:
    said = {key: value for key, value in content.items() if key not in IGNORED}
    try:
        return CONFIG_MAPPING[kind].from_dict(said | {"model_type": kind})
    except StrictDataclassError as error:
        words = " ".join(str(error.__cause__ or error).split())
        raise ProfileError(f"{place}: {words}") from None
    except Exception as error:  # as in _network
        raise _unmodelled(place, kind, "has a config that cannot be read", error) from None


def _unmodelled(place: str, kind: str, what: str, error: Exception) -> ProfileError:
    reason = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
    return ProfileError(f"{place}: model_type {kind!r} {what}: {reason}")


@dataclass
class _Reading:
    """What was seen while a network read ``TOKENS`` tokens.

    Attributes:
        calls: of each module, by name.
        experts_per_token: by the name of a module of experts.
        layers: of the cache.
    """

    calls: Counter[str] = field(default_factory=Counter)
    experts_per_token: dict[str, int] = field(default_factory=dict)
    layers: list[Any] = field(default_factory=list)


def _read(place: str, network: Any) -> _Reading:
    reading, kind = _Reading(), network.config.model_type
    hooks = [
        module.register_forward_pre_hook(_noting(reading, name), with_kwargs=True)
        for name, module in network.named_modules()
    ]
    try:
        network.set_experts_implementation("batched_mm")
        ids = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
        with torch.no_grad():
            output = network(input_ids=ids, use_cache=True)
    except Exception as error:  # as in _network
        raise _unmodelled(place, kind, "cannot be followed", error) from None
    finally:
        for hook in hooks:
            hook.remove()
    reading.layers = list(getattr(getattr(output, "past_key_values", None), "layers", None) or [])
    if not reading.layers:
        raise ProfileError(f"{place}: model_type {kind!r}: keeps no keys and values: not modelled")
    return reading


def _noting(reading: _Reading, name: str) -> Any:
    def note(module: nn.Module, words: tuple[Any, ...], keys: Mapping[str, Any]) -> None:
        reading.calls[name] += 1
        if not _expert_count(module):
            return
        if len(words) > 1:
            reading.experts_per_token[name] = int(words[1].shape[-1])
        elif words and words[0].shape[0] == TOKENS * _expert_count(module):
            # Llama 4 shows every token to each expert, most of them as zeros.
            reading.experts_per_token[name] = 0

    return note


def _expert_count(module: nn.Module) -> int:
    """How many experts a module holds in weights of three dimensions; 0 if it is none such."""
    if not type(module).__name__.endswith("Experts"):
        return 0
    sizes = {weight.shape[0] for weight in module.parameters(recurse=False) if weight.ndim == 3}
    return sizes.pop() if len(sizes) == 1 else 0


@dataclass
class _Count:
    place: str
    network: Any
    reading: _Reading
    bits: WeightBits

    def shape(self) -> ModelShape:
        self._check_keys()
        head, dense, expert, unread = self._weights()
        experts, per_token = self._experts()
        attention = [one for layer in self.reading.layers if (one := self._attention(layer))]
        if not attention:
            raise self._error("keeps no keys and values: not modelled")
        blocks = len(self.reading.layers)
        if any(type(layer).__name__ == NO_ATTENTION for layer in self.reading.layers):
            # Attention and feed-forward count as layers of their own there.
            blocks = (blocks + 1) // 2
        return ModelShape(
            self._number("hidden_size"),
            blocks,
            grouped(attention),
            dense,
            head,
            unread,
            expert,
            experts,
            per_token,
            sum(map(_state_bytes, self.reading.layers)),
            self._norms() // blocks,
        )

    def _norms(self) -> int:
        modules = self.network.named_modules()
        return sum(
            self.reading.calls[name]
            for name, module in modules
            if type(module).__name__.endswith("Norm")
        )

    def _check_keys(self) -> None:
        for key, what in UNKNOWN_KEYS.items():
            if getattr(self._text, key, None):
                raise self._error(f"{key}: {what}: not modelled")

    @property
    def _text(self) -> Any:
        return self.network.config.get_text_config(decoder=True)

    def _number(self, key: str) -> int:
        value = getattr(self._text, key, None)
        if type(value) is not int or value < 1:
            raise self._error(f"{key} is {shown(value)}: not modelled")
        return value

    def _error(self, said: str) -> ProfileError:
        return ProfileError(f"{self.place}: model_type {self.network.config.model_type!r}: {said}")

    def _weights(self) -> tuple[Weights, Weights, Weights, Weights]:
        head_module = self.network.get_output_embeddings()
        if head_module is None:
            raise self._error("has no head that makes logits: not modelled")
        head = dense = expert = unread = NOTHING
        seen: set[int] = set()
        for module_name, module in self.network.named_modules():
            for weight in module.parameters(recurse=False):
                if id(weight) in seen:
                    self._check_once(
                        module_name, weight, is_shared=weight is not head_module.weight
                    )
                    continue
                seen.add(id(weight))
                weights = self._stored(module_name, module, weight)
                if weight is head_module.weight:
                    head = Weights(weight.numel(), self.bits.bits if self.bits.of_head else 16)
                elif module_name in self.reading.experts_per_token:
                    expert += Weights(weights.parameters // _expert_count(module), weights.bits)
                elif isinstance(module, nn.Embedding) or not self._is_read(module_name):
                    unread += weights
                else:
                    self._check_once(module_name, weight)
                    dense += weights
        return head, dense, expert, unread

    def _stored(self, name: str, module: nn.Module, weight: Any) -> Weights:
        is_expert = name in self.reading.experts_per_token
        is_matrix = weight.ndim > 1 and (is_expert or isinstance(module, nn.Linear | Conv1D))
        bits = self.bits.of(name, is_expert=is_expert) if is_matrix else 16
        return Weights(weight.numel(), bits)

    def _is_read(self, name: str) -> bool:
        """Some layers take their children's weights without calling them."""
        parent = name.rpartition(".")[0]
        return self.reading.calls[name] > 0 or (bool(parent) and self.reading.calls[parent] > 0)

    def _check_once(self, name: str, weight: Any, *, is_shared: bool = False) -> None:
        if weight.ndim > 1 and self.reading.calls[name] > (0 if is_shared else 1):
            raise self._error(f"a token passes the weights of {name} more than once: not modelled")

    def _experts(self) -> tuple[int, int]:
        """How many there are in a layer, and how many of them a token takes."""
        modules = dict(self.network.named_modules())
        found = {
            (_expert_count(modules[name]), per_token or self._number("num_experts_per_tok"))
            for name, per_token in self.reading.experts_per_token.items()
        }
        if len(found) > 1:
            raise self._error("layers differ in their number of experts: not modelled")
        return found.pop() if found else (1, 1)

    def _attention(self, layer: Any) -> Attention | None:
        """None of a layer that keeps no keys and values."""
        kind = type(layer).__name__
        if kind == NO_ATTENTION:
            return None
        if kind not in CACHE_LAYERS:
            raise self._error(f"a cache of {kind} is not modelled")
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if keys is None or values is None:
            if kind == "LinearAttentionLayer":
                return None
            raise self._error("a layer keeps something else than keys and values: not modelled")
        if keys.shape[-2] != TOKENS or values.shape[-2] != TOKENS:
            raise self._error("it does not keep what it reads token by token: not modelled")
        window = layer.sliding_window if getattr(layer, "is_sliding", False) else None
        return self._attention_of(keys, values, int(window) if window else None)

    def _attention_of(self, keys: Any, values: Any, window: int | None) -> Attention:
        numbers = keys[:, :, 0].numel() + values[:, :, 0].numel()
        prefill = decode = keys.shape[-1] + values.shape[-1]
        if getattr(self._text, "kv_lora_rank", None):
            # DeepSeek-V2, 2405.04434: prompts with keys and values made whole, decoding in the
            # latent, which is key and value at once.
            heads = ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
            prefill = sum(self._number(key) for key in heads)
            decode = keys.shape[-1] + values.shape[-1] + self._number("kv_lora_rank")
        heads_flops = 2 * self._number("num_attention_heads")
        kept = numbers * self.bits.kv / 8
        return Attention(
            1, keys.shape[1], kept, heads_flops * prefill, heads_flops * decode, window
        )


def _state_bytes(layer: Any) -> int:
    states = [
        *getattr(layer, "conv_states", {}).values(),
        *getattr(layer, "recurrent_states", {}).values(),
    ]
    return sum(state.numel() * state.element_size() for state in states if state is not None)
