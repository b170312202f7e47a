"""The README's four models, with tiny shapes: two of Llama's, two of Qwen3's, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.support.letter_model import LETTERS

NAMES = ("first", "second", "third", "editor")
AGENTS = ("anna", "boris", "clara", "editor")


def save_tokenizer(folder: Path, letters: str = LETTERS, added: tuple[str, ...] = ()) -> None:
    """One token a letter, numbered in their order."""
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    names = [pieces.pre_tokenize_str(letter)[0][0] for letter in letters]
    tokenizer = Tokenizer(BPE({name: number for number, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pieces
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(added))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)  # type: ignore[no-untyped-call]


def save_four_models(folder: Path, tokenizers: int) -> None:
    """The first two and the last two have a tokenizer each, or all of them the same.

    One has more embeddings than tokens, as models with padded ones have.
    """
    for number, name in enumerate(NAMES):
        torch.manual_seed(number)
        shape: dict[str, Any] = {
            "vocab_size": len(LETTERS) + (9 if number == 1 else 0),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": None,
        }
        if number % 2:
            Qwen3ForCausalLM(Qwen3Config(**shape)).save_pretrained(folder / name)
        else:
            LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder / name)
        is_other = tokenizers == 2 and number >= 2
        save_tokenizer(folder / name, LETTERS[::-1] if is_other else LETTERS)


def write_scenario(folder: Path) -> Path:
    """The README's, on a CPU, with little to do."""
    content = {
        "name": "my-moa",
        "pipeline": {
            "moa": {"layers": [list(AGENTS[:3])], "answer": "editor"},
            "agents": {name: {"max_tokens": 24} for name in AGENTS},
        },
        "engines": {
            agent: {"model": str(folder / name), "device": "cpu"}
            for agent, name in zip(AGENTS, NAMES, strict=True)
        },
        "requests": {"dataset": "questions.jsonl", "count": 2},
        "profile": {"requests": 3, "budget_s": 1, "max_prompt_tokens": 64},
        "plan": {"trials": 12, "validated_front": 0},
    }
    content["engines"]["editor"]["dtype"] = "bfloat16"  # type: ignore[index]
    (folder / "questions.jsonl").write_text('{"query": "Why is the sky blue?"}\n' * 4)
    path = folder / "my-moa.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
