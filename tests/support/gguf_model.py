"""Writes saved Llama models as GGUF files, which llama.cpp reads; all weights stay fp32."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH, GGUFWriter, TokenType, get_tensor_name_map
from numpy.typing import NDArray
from safetensors.numpy import load_file

Weights = NDArray[np.float32]
Config = Mapping[str, Any]
# Names of tokens that no text holds: an end for models without one, which would else get token 11,
# and the only merge of a BPE tokenizer without merges, which llama.cpp does not take.
NO_END = "<no end>"
NO_MERGE = "\N{SNOWMAN} \N{SNOWMAN}"
WORD_BEGINS = "\N{LOWER ONE EIGHTH BLOCK}"


def write_gguf(folder: Path, target: Path) -> None:
    """The model that ``save_pretrained`` wrote to ``folder``."""
    config: Config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    writer = GGUFWriter(target, "llama")
    _add_shape(writer, config)
    _add_tokenizer(writer, tokenizer, config["eos_token_id"])
    for name, weights in _tensors(folder / "model.safetensors", config):
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: GGUFWriter, config: Config) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_tokenizer(writer: GGUFWriter, tokenizer: Any, end: int | None) -> None:
    model = tokenizer["model"]
    special = {token["id"] for token in tokenizer["added_tokens"]}
    names: list[str] = sorted(model["vocab"], key=model["vocab"].__getitem__)
    types = [TokenType.CONTROL if n in special else TokenType.NORMAL for n in range(len(names))]
    if model["type"] == "BPE":
        _add_bytes(writer, model["merges"])
    else:
        _add_words(writer, len(names))
        types[model["vocab"][model["unk_token"]]] = TokenType.UNKNOWN
        names = [name if n in special else WORD_BEGINS + name for n, name in enumerate(names)]
    if end is None:
        names, types, end = [*names, NO_END], [*types, TokenType.CONTROL], len(names)
    writer.add_token_list(names)
    writer.add_token_types(types)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def _add_bytes(writer: GGUFWriter, merges: list[list[str]]) -> None:
    """Byte-level BPE."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_merges([" ".join(pair) for pair in merges] or [NO_MERGE])


def _add_words(writer: GGUFWriter, count: int) -> None:
    """A tokenizer of whole words, as T5's: llama.cpp has none nearer to it.

    The ids of a text are the same as long as every word of it is known. The text of a token begins
    with a space, also that of the first.
    """
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_scores([0.0] * count)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)


def _tensors(file: Path, config: Config) -> Iterator[tuple[str, Weights]]:
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, weights in load_file(file).items():
        kind = name.split(".")[-2]
        if kind in heads:
            weights = _interleaved(weights, heads[kind])
        elif kind in ("embed_tokens", "lm_head") and config["eos_token_id"] is None:
            # The end's logit is then 0, which the best of many others is above.
            weights = np.pad(weights, ((0, 1), (0, 0)))
        target = names.get_name(name, try_suffixes=(".weight",))
        assert target is not None, name
        yield target, weights


def _interleaved(weights: Weights, heads: int) -> Weights:
    """Rows as llama.cpp rotates them: those of a pair side by side, not half a head apart."""
    rows, columns = weights.shape
    pairs = weights.reshape(heads, 2, rows // heads // 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)
