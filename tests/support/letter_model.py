"""A tiny model whose tokens are letters: text and tokens are the same thing for it."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LETTERS = string.ascii_letters + string.digits + " .,:;?!\n<>/"


def save_letter_model(folder: Path, seed: int = 3, letters: str = LETTERS) -> None:
    """Byte-level BPE without merges, and weights so large that no two logits are close.

    ``letters`` are those of ``LETTERS`` in the order of their numbers; what it writes is the same.
    """
    torch.manual_seed(seed)
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    names = [pieces.pre_tokenize_str(letter)[0][0] for letter in letters]
    tokenizer = Tokenizer(BPE({name: number for number, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pieces
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)  # type: ignore[no-untyped-call]
    shape = LlamaConfig(
        vocab_size=len(names),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        # The smallest that vLLM has on a CPU.
        head_dim=32,
        initializer_range=0.3,
        max_position_embeddings=32768,
        bos_token_id=None,
        eos_token_id=None,
    )
    network = LlamaForCausalLM(shape)
    order = [LETTERS.index(letter) for letter in letters]
    for layer in (network.model.embed_tokens, network.lm_head):
        layer.weight.data = layer.weight.data[order].clone()
    network.save_pretrained(folder)
