"""Shapes from config.json files: real ones beside what is published of them, and every type."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.hardware.known_models import SHAPES, model_shape, read_shape
from profiles.hardware.model_shape import ModelShape
from profiles.hardware.weight_bits import METHODS, weight_bits
from staircase.errors import ProfileError

# From the models' cards and papers.
BILLIONS = {
    "Llama-3.1-8B": 8.03,
    "Llama-3.1-70B": 70.55,
    "Llama-2-70B": 68.98,
    "Qwen3-0.6B": 0.596,
    "Qwen3-1.7B": 1.72,
    "Qwen3-8B": 8.19,
    "Qwen3-32B": 32.76,
    "BLOOM-176B": 176.25,
    "Qwen3-30B-A3B": 30.53,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
}
MIXTRAL = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 32000,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
GPT_OSS = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "head_dim": 64,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_local_experts": 32,
    "sliding_window": 128,
    "vocab_size": 201088,
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.embed_tokens", "lm_head"],
    },
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 2048,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "topk_group": 4,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
QWEN3_NEXT = {
    "model_type": "qwen3_next",
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "moe_intermediate_size": 512,
    "num_attention_heads": 16,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "num_hidden_layers": 48,
    "num_key_value_heads": 2,
    "shared_expert_intermediate_size": 512,
    "vocab_size": 151936,
}
GEMMA_3_27B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "head_dim": 128,
        "hidden_size": 5376,
        "intermediate_size": 21504,
        "num_attention_heads": 32,
        "num_hidden_layers": 62,
        "num_key_value_heads": 16,
        "sliding_window": 1024,
        "vocab_size": 262208,
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "image_size": 896,
        "intermediate_size": 4304,
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
    },
}
# Of Mistral-Small-3.1-24B, whose type is not among those for text alone.
MISTRAL_SMALL = {
    "model_type": "mistral3",
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "mistral",
        "head_dim": 128,
        "hidden_size": 5120,
        "intermediate_size": 32768,
        "num_attention_heads": 32,
        "num_hidden_layers": 40,
        "num_key_value_heads": 8,
        "sliding_window": None,
        "vocab_size": 131072,
    },
    "vision_config": {
        "model_type": "pixtral",
        "head_dim": 64,
        "hidden_size": 1024,
        "image_size": 1540,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    },
}
# Billions in all and active, as published; the latter None in a dense model. Several count without
# embeddings: those are added.
REAL: dict[str, tuple[dict[str, Any], float, float | None]] = {
    "Mixtral-8x7B": (MIXTRAL, 46.7, 12.9),
    "DeepSeek-V3": (DEEPSEEK_V3, 671, 37),
    "gpt-oss-20b": (GPT_OSS, 20.9, 3.6 + 0.58),
    "gpt-oss-120b": (
        GPT_OSS
        | {
            "num_hidden_layers": 36,
            "num_local_experts": 128,
            "layer_types": ["sliding_attention", "full_attention"] * 18,
        },
        116.8,
        5.1 + 0.58,
    ),
    "Qwen3-Next-80B-A3B": (QWEN3_NEXT, 79.7, 3.0 + 0.9),
    "gemma-3-27b": (GEMMA_3_27B, 27.4, None),
    "Mistral-Small-3.1-24B": (MISTRAL_SMALL, 24.0, None),
    "gemma-2-9b": (
        {
            "model_type": "gemma2",
            "head_dim": 256,
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "num_attention_heads": 16,
            "num_hidden_layers": 42,
            "num_key_value_heads": 8,
            "vocab_size": 256000,
        },
        9.24,
        None,
    ),
    "starcoder2-15b": (
        {
            "model_type": "starcoder2",
            "hidden_size": 6144,
            "intermediate_size": 24576,
            "num_attention_heads": 48,
            "num_hidden_layers": 40,
            "num_key_value_heads": 4,
            "vocab_size": 49152,
            "tie_word_embeddings": False,
        },
        15.96,
        None,
    ),
    "ERNIE-4.5-21B-A3B": (
        {
            "model_type": "ernie4_5_moe",
            "hidden_size": 2560,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "moe_k": 6,
            "moe_layer_start_index": 1,
            "moe_num_experts": 64,
            "moe_num_shared_experts": 2,
            "num_attention_heads": 20,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "vocab_size": 103424,
            "tie_word_embeddings": True,
        },
        21.8,
        3.0 + 0.3,
    ),
    "Qwen3-30B-A3B": (
        {
            "model_type": "qwen3_moe",
            "head_dim": 128,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_attention_heads": 32,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 48,
            "num_key_value_heads": 4,
            "vocab_size": 151936,
            "tie_word_embeddings": False,
        },
        30.5,
        3.3,
    ),
    "Llama-4-Scout": (
        {
            "model_type": "llama4",
            "text_config": {
                "model_type": "llama4_text",
                "attention_chunk_size": 8192,
                "head_dim": 128,
                "hidden_size": 5120,
                "interleave_moe_layer_step": 1,
                "intermediate_size": 8192,
                "intermediate_size_mlp": 16384,
                "num_attention_heads": 40,
                "num_experts_per_tok": 1,
                "num_hidden_layers": 48,
                "num_key_value_heads": 8,
                "num_local_experts": 16,
                "vocab_size": 202048,
            },
            "vision_config": {
                "model_type": "llama4_vision_model",
                "hidden_size": 1408,
                "intermediate_size": 5632,
                "num_attention_heads": 16,
                "num_hidden_layers": 34,
                "projector_input_dim": 4096,
                "projector_output_dim": 4096,
                "vision_output_dim": 4096,
            },
        },
        108.6,
        17 + 0.9,
    ),
    "Nemotron-H-56B": (
        {
            "model_type": "nemotron_h",
            "attention_head_dim": 128,
            "head_dim": 128,
            "hidden_size": 8192,
            "hybrid_override_pattern": "M-M-M-M*-" + 9 * "M-M-M-M-M*-" + 5 * "M-",
            "intermediate_size": 32768,
            "mamba_head_dim": 64,
            "mamba_num_heads": 256,
            "mlp_hidden_act": "relu2",
            "n_groups": 8,
            "num_attention_heads": 64,
            "num_hidden_layers": 118,
            "num_key_value_heads": 8,
            "ssm_state_size": 256,
            "vocab_size": 131072,
        },
        56,
        None,
    ),
}


def write(folder: Path, content: object, name: str = "config.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@cache
def shape_of(model: str) -> ModelShape:
    from profiles.hardware.counted_shape import counted_shape
    from profiles.hardware.weight_bits import WeightBits

    content = REAL[model][0]
    key = "quantization_config"
    bits = weight_bits("x", key, content[key]) if key in content else WeightBits()
    return counted_shape("x", content, bits)


@pytest.mark.parametrize("model", SHAPES)
def test_parameters_of_known_names_are_those_of_the_models_cards(model: str) -> None:
    assert SHAPES[model].parameters == pytest.approx(BILLIONS[model] * 1e9, rel=0.01)


def test_llama_keeps_128_kib_of_keys_and_values_per_token() -> None:
    assert SHAPES["Llama-3.1-8B"].kv_bytes_per_token == 128 * 1024


@pytest.mark.parametrize(("model", "norms"), [("gpt-oss-20b", 2), ("Qwen3-30B-A3B", 4)])
def test_norms_of_queries_and_keys_count(model: str, norms: int) -> None:
    assert shape_of(model).norms == norms
    assert SHAPES.get(model, shape_of(model)).norms == norms


@pytest.mark.parametrize("model", ["gpt-oss-20b", "Qwen3-30B-A3B"])
def test_experts_of_real_configs(model: str) -> None:
    check(model)


@pytest.mark.slow
@pytest.mark.parametrize("model", REAL)
def test_parameters_of_real_configs_are_those_of_the_models_cards(model: str) -> None:
    check(model)


def check(model: str) -> None:
    _, billions, active = REAL[model]
    shape = shape_of(model)
    assert shape.parameters == pytest.approx(billions * 1e9, rel=0.006)
    if active is not None:
        # Cards give two or three digits.
        assert active_parameters(shape) == pytest.approx(active * 1e9, rel=0.017)


def active_parameters(shape: ModelShape) -> int:
    """All but the experts that a token does not pass."""
    return shape.parameters - (shape.experts - shape.experts_per_token) * shape.expert.parameters


def test_mixtral_reads_two_experts_of_eight() -> None:
    assert active_parameters(shape_of("Mixtral-8x7B")) == pytest.approx(12.9e9, rel=0.002)


def test_bloom_has_old_names_two_matrices_and_one_embedding(tmp_path: Path) -> None:
    bloom = {"model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112}
    found = read_shape(write(tmp_path, bloom | {"vocab_size": 250880}))
    known = SHAPES["BLOOM-176B"]
    assert replace(found, dense=known.dense) == known
    # The biases, which are not counted in what is known by name.
    assert found.dense.parameters == pytest.approx(known.dense.parameters, rel=1e-4)


@pytest.mark.slow
def test_what_a_token_leaves_and_reads() -> None:
    # A latent of 512 and a key of 64 numbers in 61 layers; in prompts keys and values are whole.
    (latent,) = shape_of("DeepSeek-V3").attention
    assert (latent.layers, latent.kv_bytes, latent.kv_heads) == (61, 2 * 576, 1)
    assert (latent.prefill_flops, latent.decode_flops) == (2 * 128 * 320, 2 * 128 * 1088)
    # Half of the layers see 128 tokens only.
    windows = {one.window: one.layers for one in shape_of("gpt-oss-20b").attention}
    assert windows == {128: 12, None: 12}
    windows = {one.window: one.layers for one in shape_of("gemma-3-27b").attention}
    assert windows == {1024: 52, None: 10}
    # Attention in every fourth layer; in the others a state, mostly of 32 heads of 128 x 128.
    qwen = shape_of("Qwen3-Next-80B-A3B")
    assert [(one.layers, one.window) for one in qwen.attention] == [(12, None)]
    assert qwen.kv_bytes_per_token == 12 * 2 * 2 * 256 * 2
    assert qwen.state_bytes == pytest.approx(36 * 32 * 128 * 128 * 4, rel=0.05)
    # Attention and feed-forward block are layers of their own there.
    nemotron = shape_of("Nemotron-H-56B")
    assert (nemotron.layers, nemotron.attention[0].layers) == (59, 10)


@pytest.mark.slow
def test_towers_for_images_are_held_and_not_read() -> None:
    shape = shape_of("gemma-3-27b")
    text = shape.dense.parameters + shape.head.parameters
    assert text == pytest.approx(27.0e9, rel=0.005)
    assert shape.unread.parameters == pytest.approx(0.42e9, rel=0.05)


def test_experts_count_where_they_are_read() -> None:
    shape = shape_of("gpt-oss-20b")
    apart = shape.head.parameters + shape.unread.parameters
    dense, experts = 2 * shape.dense.parameters, shape.parameters - apart - shape.dense.parameters
    bits = shape.expert.bits / 8
    assert shape.layer_bytes(1) == pytest.approx(dense + experts * bits * 4 / 32)
    assert shape.layer_bytes(1000) == pytest.approx(dense + experts * bits)


GROUP = {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}
NVFP4 = {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}
QUANTIZED: dict[str, tuple[dict[str, Any], float]] = {
    "fp8": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8),
    "fbgemm": ({"quant_method": "fbgemm_fp8"}, 8),
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
    "gptq by column": ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8),
    "awq": ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 4 + 20 / 64),
    "bitsandbytes 8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
    "bitsandbytes 4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.5),
    "compressed": (
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUP}},
        4 + 16 / 128,
    ),
    "nvfp4": ({"quant_method": "compressed-tensors", "config_groups": {"g": NVFP4}}, 4.5),
    "modelopt": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4.5),
}


@pytest.mark.parametrize("case", QUANTIZED)
def test_quantized_matrices_take_less_memory(tmp_path: Path, case: str) -> None:
    quantization, bits = QUANTIZED[case]
    plain = read_shape(write(tmp_path, LLAMA))
    shape = read_shape(write(tmp_path, LLAMA | {"quantization_config": quantization}))
    matrices = 2 * 64 * (2 * 64 + 2 * 32 + 3 * 96)
    assert shape.parameters == plain.parameters
    assert plain.weight_bytes - shape.weight_bytes == pytest.approx(matrices * (16 - bits) / 8)


@pytest.mark.parametrize(
    ("pattern", "share"),
    [
        ("re:.*self_attn.*", 192 / 480),
        ("model.layers.0", 1 / 2),
        ("model.layers.1.mlp*", 288 / 960),
        ("lm_head", 0),
    ],
)
def test_matrices_that_stay_in_16_bits(tmp_path: Path, pattern: str, share: float) -> None:
    key, groups = "compression_config", {"group_0": GROUP}
    whole, part = (
        read_shape(write(tmp_path, LLAMA | {key: {"config_groups": groups, "ignore": ignored}}))
        for ignored in ([], [pattern])
    )
    plain = read_shape(write(tmp_path, LLAMA))
    saved = [plain.weight_bytes - shape.weight_bytes for shape in (whole, part)]
    assert saved[1] == pytest.approx((1 - share) * saved[0])


@pytest.mark.slow
def test_only_experts_are_in_4_bits_in_gpt_oss() -> None:
    shape = shape_of("gpt-oss-120b")
    assert shape.expert.bits == pytest.approx(4.25, abs=0.03)
    assert shape.dense.bits == 16
    # The size of its files.
    assert shape.weight_bytes == pytest.approx(65.2e9, rel=0.01)


def test_modelopts_own_file_is_read(tmp_path: Path) -> None:
    quantization = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": []}
    plain = read_shape(write(tmp_path, LLAMA))
    write(tmp_path, {"quantization": quantization}, "hf_quant_config.json")
    shape = read_shape(tmp_path / "config.json")
    assert shape.dense.bits == pytest.approx(8, abs=0.1)
    assert shape.kv_bytes_per_token == plain.kv_bytes_per_token / 2


def test_a_type_with_its_own_code_counts_as_the_class_it_names(tmp_path: Path) -> None:
    plain = read_shape(write(tmp_path, LLAMA))
    own = LLAMA | {"model_type": "kimi_k9", "architectures": ["LlamaForCausalLM"]}
    assert read_shape(write(tmp_path, own)) == plain


def quantized(**content: object) -> dict[str, Any]:
    return LLAMA | {"quantization_config": content}


REFUSED: dict[str, tuple[object, str]] = {
    "no JSON": ("{", "not JSON"),
    "deep": ("[" * 3000, "not JSON"),
    "a list": ([], "must be an object"),
    "no type": ({"hidden_size": 4}, "model_type is missing"),
    "another type": (LLAMA | {"model_type": "llama9"}, "model_type 'llama9' is none that"),
    "a type that is none": (LLAMA | {"model_type": ["llama"]}, "model_type .* is none that"),
    "no text": ({"model_type": "vit"}, "model_type 'vit' writes no text"),
    "a word": (LLAMA | {"hidden_size": "64"}, "hidden_size.*int"),
    "heads": (LLAMA | {"num_attention_heads": 5}, "attention heads"),
    "nothing": (LLAMA | {"hidden_size": 0}, "model_type 'llama' "),
    "many layers": (LLAMA | {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, must"),
    "mamba": ({"model_type": "mamba"}, "model_type 'mamba': keeps no keys and values"),
    "encoder": ({"model_type": "bert"}, "model_type 'bert': keeps no keys and values"),
    "sparse": (
        {"model_type": "deepseek_v32", "num_hidden_layers": 1},
        "index_topk: sparse attention",
    ),
    "no method": (quantized(bits=4), "quantization_config.quant_method: is missing"),
    "a method": (
        quantized(quant_method="exl2"),
        "quant_method: 'exl2' is not modelled; known: fp8",
    ),
    "a list of methods": (quantized(quant_method=["fp8"]), "quant_method: .* is not modelled"),
    "no bits": (quantized(quant_method="gptq"), "quantization_config.bits: is missing"),
    "bits": (quantized(quant_method="awq", bits="4"), "bits: is '4', must be one of 2, 3"),
    "a group": (quantized(quant_method="gptq", bits=4, group_size=0), "group_size: is 0, must"),
    "neither": (quantized(quant_method="bitsandbytes"), "load_in_4bit: neither"),
    "groups": (
        quantized(quant_method="compressed-tensors", config_groups=[1]),
        "config_groups: must be an object",
    ),
    "no algorithm": (quantized(quant_method="modelopt"), "quant_algo: None is not modelled"),
    "no regular expression": (
        quantized(
            quant_method="compressed-tensors", config_groups={"g": GROUP}, ignore=["re:(lm_head"]
        ),
        "is no regular expression",
    ),
    "a word for quantization": (LLAMA | {"quantization_config": "fp8"}, "must be an object"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_modelled_is_told_in_one_line(tmp_path: Path, case: str) -> None:
    content, said = REFUSED[case]
    with pytest.raises(ProfileError, match=f"config.json: .*{said}") as error:
        read_shape(write(tmp_path, content))
    assert "\n" not in str(error.value)


HALF_READ = {"quant_algo": "FP8", "exclude_modules": ["re:("]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ([], r"it is \[\], must be an object with 'quantization'"),
        ({}, "no key 'quantization'"),
        ({"quantization": None}, "quantization: must be an object, not None"),
        ({"quantization": ["FP8"]}, r"quantization: must be an object, not \['FP8'\]"),
        ({"quantization": {}}, "quant_algo: None is not modelled; known: FP8"),
        ({"quantization": {"quant_algo": ["FP8"]}}, r"quant_algo: \['FP8'\] is not modelled"),
        ({"quantization": {"quant_algo": {}}}, "quant_algo: {} is not modelled"),
        ({"quantization": HALF_READ}, r"'re:\(' is no regular expression"),
        ({"quantization": {"quant_method": "x" * 99}}, "'x{39}… is not modelled"),
    ],
)
def test_modelopts_own_file_is_refused_in_one_line(
    tmp_path: Path, content: object, said: str
) -> None:
    write(tmp_path, content, "hf_quant_config.json")
    with pytest.raises(ProfileError, match=f"hf_quant_config.json: .*{said}") as error:
        read_shape(write(tmp_path, LLAMA))
    assert "\n" not in str(error.value)


VALUES: list[Any] = [None, True, -1, 4, 1.5, 10**400, "", "FP8", [], ["x"], [1], [[]], {}]
ODD_PATTERNS = [["re:("], ["re:a{99999999999}"], ["re:" + "(" * 3000]]
ODD_PARTS = [{"g": {"weights": {"num_bits": [4]}}}, {"format": []}, {"num_bits": {}}]
KEYS = [
    *("bits", "w_bit", "group_size", "q_group_size", "lm_head", "ignore", "config_groups"),
    *("modules_to_not_convert", "ignored_layers", "llm_int8_skip_modules", "exclude_modules"),
    *("load_in_4bit", "load_in_8bit", "bnb_4bit_use_double_quant", "sparsity_config"),
    *("kv_cache_scheme", "quant_algo", "kv_cache_quant_algo"),
]


@given(
    st.sampled_from(sorted(METHODS)),
    st.dictionaries(
        st.sampled_from(KEYS), st.sampled_from([*VALUES, *ODD_PATTERNS, *ODD_PARTS]), max_size=6
    ),
)
def test_whatever_stands_there_is_read_or_refused(method: str, content: dict[str, Any]) -> None:
    try:
        bits = weight_bits("f", "k", {"quant_method": method} | content)
    except ProfileError as error:
        said = str(error)
    else:
        said = f"f: k: {bits.of('model.layers.0.mlp', is_expert=False):.0f} bits"
    assert re.fullmatch(r"f: k.{,300}", said)


def test_every_method_has_a_case() -> None:
    assert {content["quant_method"] for content, _ in QUANTIZED.values()} == set(METHODS) - {
        "mxfp4"
    }


def test_a_folder_and_its_config_are_the_same(tmp_path: Path) -> None:
    write(tmp_path, LLAMA)
    assert model_shape(".", tmp_path) == model_shape("config.json", tmp_path)


def test_a_config_that_changed_is_read_again(tmp_path: Path) -> None:
    first = read_shape(write(tmp_path, LLAMA))
    changed = read_shape(write(tmp_path, LLAMA | {"vocab_size": 301}))
    assert changed.parameters - first.parameters == 2 * 64


# Of types whose own defaults make no model.
DEFAULTS: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [9, 18, 27]},
    "deepseek_v2": {"num_experts_per_tok": 6},
    "granitemoehybrid": {"layer_types": ["mamba"] * 28 + ["attention"] * 4},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
    "ministral": {"head_dim": 128},
    "nemotron": {"head_dim": 128},
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_type_is_counted_as_transformers_counts_it_or_refused() -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    from profiles.hardware.counted_shape import counted_shape
    from profiles.hardware.weight_bits import WeightBits

    counted, wrong = 0, {}
    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        content = {"model_type": kind} | DEFAULTS.get(kind, {})
        try:
            shape = counted_shape("config.json", content, WeightBits())
        except ProfileError:
            continue
        with torch.device("meta"):
            config = CONFIG_MAPPING[kind].from_dict(content)
            # Those that read images are counted with what reads them, as engines hold it.
            reads_images = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
            factory: Any = AutoModelForImageTextToText if reads_images else AutoModelForCausalLM
            network = factory.from_config(config)
        expected = sum(weight.numel() for weight in network.parameters())
        counted += 1
        if abs(shape.parameters / expected - 1) > 0.03:
            wrong[kind] = shape.parameters / expected
    assert not wrong
    assert counted > 110
