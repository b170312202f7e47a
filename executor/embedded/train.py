"""Trains the embedded model: ``python -m executor.embedded.train`` (seeded).

One Llama-type model of 0.8 M parameters plays all roles of the bulletin desk.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch
from rich.progress import track
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from executor.embedded import MODEL_FOLDER
from executor.embedded.samples import END, SPECIAL, Encode, Sample, editor_sample, reporter_sample
from executor.embedded.task import vocabulary

# Batches drawn at once, to sort their samples by length; and steps of easy samples at the start.
POOL, EASY_STEPS = 8, 400


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    words = {word: number for number, word in enumerate([*SPECIAL, *vocabulary()])}
    core = Tokenizer(WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    core.add_special_tokens([AddedToken(word, normalized=False) for word in SPECIAL])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", eos_token=END
    )


def build_model(vocabulary_size: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        # With the usual 0.02 it never learns to look things up (docs/log.md).
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index("<pad>"),
    )
    return LlamaForCausalLM(config)


def loss_of(model: LlamaForCausalLM, samples: list[Sample]) -> torch.Tensor:
    """Mean negative log-likelihood of the samples' target tokens."""
    length = max(len(sample.ids) for sample in samples)
    ids = torch.zeros(len(samples), length, dtype=torch.long)
    labels = torch.full((len(samples), length), -100)
    for row, sample in enumerate(samples):
        tokens = torch.tensor(sample.ids)
        ids[row, : len(tokens)] = tokens
        labels[row, : len(tokens)] = torch.where(torch.tensor(sample.is_target), tokens, -100)
    loss: torch.Tensor = model(input_ids=ids, labels=labels).loss
    return loss


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a cosine to 2 % of ``peak``."""
    if step < 100:
        return peak * (step + 1) / 100
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - 100) / (steps - 100))))


def train(steps: int, batch: int, peak: float, seed: int, folder: Path) -> None:
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = build_tokenizer()
    model = build_model(len(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.05)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    batches = draw_batches(rng, encode, batch)
    started, losses = time.perf_counter(), []
    for step in track(range(steps), "training the bulletin desk"):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, next(batches))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 99:
            mean = sum(losses[-100:]) / 100
            print(
                f"step {step + 1}: loss {mean:.3f}, {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    save(model, tokenizer, folder)


def draw_batches(rng: random.Random, encode: Encode, batch: int) -> Iterator[list[Sample]]:
    """Batches of samples of similar length; one in six samples is a correspondent's."""
    for number in count():
        is_easy = number * POOL < EASY_STEPS
        pool = [
            reporter_sample(rng, encode) if place % 6 == 5 else editor_sample(rng, encode, is_easy)
            for place in range(POOL * batch)
        ]
        pool.sort(key=lambda sample: len(sample.ids))
        starts = list(range(0, len(pool), batch))
        rng.shuffle(starts)
        yield from (pool[start : start + batch] for start in starts)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--peak", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments = parser.parse_args()
    train(arguments.steps, arguments.batch, arguments.peak, arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
