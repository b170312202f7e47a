"""Tokenizers with chat templates: small ones of the common shapes, trained on the project's own
words, and a real model's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from executor.inprocess.models import load_tokenizer
from tests.support.smollm2 import SMOLLM2

# Templates that have a system's turn.
SYSTEM = ("ChatML", "header ids", "SmolLM2")
DOCS = Path(__file__).parents[2] / "docs"
# How Llama 3 and Qwen split: punctuation takes line ends with it.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Shape:
    """A template, its special tokens (the first begins a text), and how the tokenizer splits.

    Attributes:
        lead: stands between what asks for an answer and the answer.
    """

    template: str
    specials: tuple[str, ...]
    splits_like_llama: bool = False
    lead: str = ""


SHAPES = {
    "ChatML": Shape(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    ),
    "header ids": Shape(
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>"
        "\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}"
        "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        splits_like_llama=True,
    ),
    "turn markers": Shape(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}<start_of_turn>"
        "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        ("<bos>", "<start_of_turn>", "<end_of_turn>"),
        splits_like_llama=True,
    ),
    # A real model's; it says who it is where nobody says who it shall be.
    "SmolLM2": Shape("", ("<|im_start|>", "<|im_end|>")),
    "brackets": Shape(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}"
        " [/INST]{% elif m.role == 'assistant' %} {{ m.content }}</s>{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        lead=" ",
    ),
}


@cache
def sentences() -> str:
    """Text with punctuation, lists and empty lines, of one byte a character."""
    return (DOCS / "schedules.md").read_text().encode("ascii", "ignore").decode()[:6000]


@cache
def chat_tokenizer(name: str) -> Any:
    return load_tokenizer(SMOLLM2) if name == "SmolLM2" else trained(SHAPES[name])


def trained(shape: Shape) -> Any:
    tokenizer = Tokenizer(models.BPE())
    if shape.splits_like_llama:
        splits = pre_tokenizers.Split(Regex(LLAMA_3), "isolated")
        pieces = [splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(shape.specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([sentences()], trainer)
    made: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token=shape.specials[0], eos_token=shape.specials[-1]
    )
    made.chat_template = shape.template
    return made
